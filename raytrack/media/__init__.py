"""raytrack.media."""
