"""Builds raytrack's CC0 head from MakeHuman's CC0 data."""
