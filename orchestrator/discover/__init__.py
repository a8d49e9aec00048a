"""What the files of a project say about its wheels, read and never run, and a matrix for them."""
