"""A policy's tokenizer with a token for each byte, and three special ones."""

import functools

from tokenizers import Tokenizer, decoders, models, pre_tokenizers


@functools.cache
def policy() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(["<p>", "<s>", "<e>", *alphabet])}, []))
    tokenizer.add_special_tokens(["<p>", "<s>", "<e>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
