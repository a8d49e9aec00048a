"""The source of a build: locate it, copy it, fingerprint it, ask it for its version."""
