"""Plans and results as JSON and as tables."""
