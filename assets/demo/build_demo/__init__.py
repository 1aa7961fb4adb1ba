"""Builds raytrack's demo clip: a talking head rendered by a small ray tracer, with exact ground truth."""
