"""Content-addressed artefacts and action results: digests in, bytes out."""
