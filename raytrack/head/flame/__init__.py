"""FLAME heads: from the files that a user downloads under FLAME's licence to a head file of raytrack's."""
