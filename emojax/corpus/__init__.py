"""The built-in corpus: voices, faces and words, made from a seed."""
