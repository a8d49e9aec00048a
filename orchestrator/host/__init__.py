"""This machine: programs, emulation, network, capacity, identity, secrets."""

SHAPES_WHEELS = True
"""Its sources are a part of every cache key."""
