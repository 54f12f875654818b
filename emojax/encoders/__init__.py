"""Batch -> Prefix: one file a family, each with `declare` (its weights) and `encode` (its function)."""
