"""`BuildRequest` to a wheel file in a private directory."""
