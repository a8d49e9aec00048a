"""`BuildRequest` to a wheel file in a private directory."""

SHAPES_WHEELS = True
"""Its sources are a part of every cache key."""
