"""Prefix -> captions: the causal language model, its sampler, and the captioner that puts the whole tree together."""
