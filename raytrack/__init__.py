"""raytrack: talking-head videos to tracked heads and NeRF/3DGS-ready datasets, in parallel on Ray."""

__version__ = "0.1.0"
