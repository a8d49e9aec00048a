"""`Settings` to cells: expansion, exclusion, selection. Pure: no files, no environment."""
