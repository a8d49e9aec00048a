"""Container engines, images and containers."""
