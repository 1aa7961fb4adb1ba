"""raytrack.fit."""
