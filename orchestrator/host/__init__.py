"""This machine: the only room that runs other programs (and in it only `process` starts them)."""
