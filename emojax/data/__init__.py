"""Bytes to batches, on the host: manifests, decoding, tokens, Grain; numpy only, so that workers stay light."""
