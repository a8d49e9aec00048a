"""What builds need besides the source: fetched once, checked, and kept in the user's cache."""

SHAPES_WHEELS = True
"""Its sources are a part of every cache key."""
