"""What builds need besides the source: fetched once, checked, and kept in the user's cache."""
