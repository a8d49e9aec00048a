"""Native compilers inside emulated builds, and builds without emulation."""

SHAPES_WHEELS = True
"""Its sources are a part of every cache key."""
