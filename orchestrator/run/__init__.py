"""Many requests, in parallel, losing nothing."""
