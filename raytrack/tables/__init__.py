"""raytrack.tables."""
