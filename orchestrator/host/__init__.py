"""This machine: programs, emulation, network, capacity, identity, secrets."""
