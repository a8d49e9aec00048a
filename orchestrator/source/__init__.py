"""The source of a build: locate it, copy it, fingerprint it, ask it for its version."""

SHAPES_WHEELS = True
"""Its sources are a part of every cache key."""
