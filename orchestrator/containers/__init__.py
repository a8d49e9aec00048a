"""Container engines, images and containers."""

SHAPES_WHEELS = True
"""Its sources are a part of every cache key."""
