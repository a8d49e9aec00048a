"""The values every room may import. Frozen, and fully resolved: nothing here is a template."""
