"""raytrack.geometry."""
