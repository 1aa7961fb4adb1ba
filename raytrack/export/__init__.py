"""raytrack.export."""
