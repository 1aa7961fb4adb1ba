"""raytrack.datasets."""
