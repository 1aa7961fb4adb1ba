"""Parametric heads: the asset format, the model that turns parameters into vertices, and regions."""
