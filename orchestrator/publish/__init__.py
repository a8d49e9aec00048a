"""What happens to finished wheels: an index of them, in a directory or a bucket."""
