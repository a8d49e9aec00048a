"""Native compilers inside emulated builds, and builds without emulation."""
