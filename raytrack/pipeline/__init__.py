"""raytrack.pipeline."""
