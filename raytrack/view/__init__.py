"""raytrack.view."""
