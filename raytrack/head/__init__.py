"""raytrack.head."""
