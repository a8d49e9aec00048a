"""Check whether this machine can build what a plan asks for."""
