"""Bytes of matrix.toml to a validated, frozen `Settings`. Pure: no files, no environment."""
