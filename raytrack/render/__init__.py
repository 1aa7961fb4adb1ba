"""raytrack.render."""
