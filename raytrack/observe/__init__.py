"""raytrack.observe."""
