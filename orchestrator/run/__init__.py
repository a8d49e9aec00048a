"""Many requests, in parallel, losing nothing."""

SHAPES_WHEELS = True
"""Its sources are a part of every cache key."""
