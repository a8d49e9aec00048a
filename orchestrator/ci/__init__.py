"""What CI systems get of a plan: jobs, and the files that describe them."""
