"""Bricks that every model is built of: linear maps, norms, attention, adapters, quantised weights."""
