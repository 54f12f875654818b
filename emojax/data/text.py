"""Words to token ids and back: the byte-level BPE tokenizer of a run, made here or taken from a pretrained decoder.

Every byte is in its alphabet, so any text in any script comes back as it was. Text that spells a special token is
text: a transcript that says "<end>" does not end a caption.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, START, END = 0, 1, 2
SPECIAL = ("<pad>", "<start>", "<end>")  # their ids are their places here


def train_tokenizer(texts: Iterable[str], vocab: int) -> "Tokenizer":
    """Byte-level BPE (Sennrich et al. 2016, arXiv 1508.07909) of at most `vocab` tokens; the same texts, the same file.

    Raises:
      ValueError: `vocab` does not hold the 3 special tokens and the 256 bytes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    least = len(SPECIAL) + len(alphabet)
    if vocab < least:
        raise ValueError(f"a vocabulary of {vocab} cannot hold all bytes and special tokens: take {least} or more")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def pretrained_tokenizer(directory: Path) -> "Tokenizer":
    """The tokenizer of a pretrained decoder; it neither pads nor cuts.

    Raises:
      FileNotFoundError: the directory has none.
    """
    from tokenizers import Tokenizer

    path = directory / "tokenizer.json"
    if path.is_file():
        tokenizer = Tokenizer.from_file(str(path))
    else:
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(directory).backend_tokenizer
        except (OSError, ValueError, AttributeError) as e:
            raise FileNotFoundError(f"{directory} has no tokenizer that can be read: no tokenizer.json, and {e}") from e
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def encode(tokenizer: "Tokenizer", text: str, length: int, end: int = END) -> tuple[np.ndarray, np.ndarray]:
    """A caption closed by the end token, `end` where the tokenizer is not of this file's making.

    A caption that does not fit loses its tail *and* its end token: a model that saw an end there would learn to stop
    in the middle of a sentence.

    Returns:
      ids i32[length], PAD after the end; mask bool[length], True up to and including the end token.
    """
    return _fit([*_ids(tokenizer, text), end], length)


def encode_transcript(tokenizer: "Tokenizer", text: str, length: int) -> tuple[np.ndarray, np.ndarray]:
    """A transcript, without a start or an end token; what does not fit is cut. Shapes as `encode`."""
    return _fit(_ids(tokenizer, text), length)


def decode(tokenizer: "Tokenizer", ids: np.ndarray, mask: np.ndarray | None = None) -> str:
    """The text of one caption, i32[T], where the mask (default: everywhere) is True; special tokens have no text."""
    kept = ids if mask is None else ids[mask]
    return tokenizer.decode([int(i) for i in kept], skip_special_tokens=True)


def _ids(tokenizer: "Tokenizer", text: str) -> list[int]:
    tokenizer.encode_special_tokens = True  # not stored in the tokenizer's file, so it is set wherever text is read
    return tokenizer.encode(text, add_special_tokens=False).ids


def _fit(ids: list[int], length: int) -> tuple[np.ndarray, np.ndarray]:
    row = np.full(length, PAD, np.int32)
    kept = ids[:length]
    row[: len(kept)] = kept
    return row, np.arange(length) < len(kept)
