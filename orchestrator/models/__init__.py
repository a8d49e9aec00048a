"""The values every room may import. Frozen, and fully resolved: nothing here is a template."""

SHAPES_WHEELS = True
"""Its sources are a part of every cache key: the table of architectures is more than a value."""
