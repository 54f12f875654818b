"""Words to token ids and back: the tokenizer of a run, made here or taken from a pretrained decoder.

One that is made here is byte-level BPE: every byte is in its alphabet, so any text in any script comes back as it was.
Whatever the tokenizer, text that spells a special token is text: a transcript that says "<end>" does not end a caption.
"""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emojax.errors import shown
from emojax.hub import tokenizer_files
from emojax.storage import read_object

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, START, END = 0, 1, 2
SPECIAL = ("<pad>", "<start>", "<end>")  # their ids are their places here
_ENDS = ("bos_token", "eos_token", "cls_token", "sep_token")  # what published tokenizers call the ends of a text


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

    Of tokenizer.json; else of vocab.txt, which is BERT's whatever model it serves (a GPT-2 of Chinese characters, say);
    else what transformers makes of the other files.

    Raises:
      FileNotFoundError: the directory has none, or one that takes a library that is not installed.
      ValueError: a tokenizer.json that is none.
    """
    path = directory / "tokenizer.json"
    tokenizer = tokenizer_files.read(path) if path.exists() else _other_files(directory)
    if tokenizer.get_vocab_size(with_added_tokens=True) <= len(tokenizer.get_added_tokens_decoder()):
        raise FileNotFoundError(  # what transformers makes of a model's name alone
            f"{directory} has no tokenizer that can be read: nothing but special tokens; wanted a tokenizer.json,"
            " vocab.txt or tokenizer.model beside config.json"
        )
    added = tokenizer.get_added_tokens_decoder().items()
    tokenizer = with_special(
        tokenizer, [t.content for i, t in added if t.special and tokenizer.id_to_token(i) != t.content]
    )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def with_special(tokenizer: "Tokenizer", tokens: Sequence[str]) -> "Tokenizer":
    """The same, but that these of its added tokens are special and never normalized.

    Where a normalizer changes a special token (those of Yi-1.5 are marked as `normalized`), decoding takes it for text.
    """
    from tokenizers import AddedToken, Tokenizer

    if not tokens:
        return tokenizer
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tokens])
    return Tokenizer.from_str(tokenizer.to_str())  # tokens that are there already change when they are read


def _other_files(directory: Path) -> "Tokenizer":
    """The tokenizer of a directory without a tokenizer.json."""
    vocabulary = [name for name in ("vocab.txt", "vocab.json") if (directory / name).is_file()]
    pieces = [path.name for pattern in ("*.model", "*.spm") for path in sorted(directory.glob(pattern))]
    if not vocabulary and pieces and find_spec("sentencepiece") is None:
        raise FileNotFoundError(
            f"{directory}: its tokenizer is {pieces[0]} alone, without a tokenizer.json, and takes sentencepiece: pip"
            " install -e '.[sentencepiece]' in the clone"
        )
    from transformers import AutoTokenizer, BertTokenizer

    kind = BertTokenizer if vocabulary == ["vocab.txt"] else AutoTokenizer
    try:
        return kind.from_pretrained(directory, local_files_only=True, trust_remote_code=False).backend_tokenizer
    except Exception as e:  # whatever that library makes of files that are damaged
        why = str(e).strip().partition("\n")[0][:300]
        raise FileNotFoundError(
            f"{directory} has no tokenizer that can be read: no tokenizer.json, and {type(e).__name__}: {why}"
        ) from e


def bounds(directory: Path) -> tuple[int | None, int | None]:
    """The ids of the tokens that begin and end a text, as the files of a pretrained tokenizer name them.

    They are bos_token and eos_token of tokenizer_config.json and special_tokens_map.json; else cls_token and sep_token,
    which are "[CLS]" and "[SEP]" in a BERT tokenizer that does not say. None: there is none.

    Raises:
      FileNotFoundError: see `pretrained_tokenizer`.
    """
    from tokenizers import models

    tokenizer = pretrained_tokenizer(directory)
    bert = isinstance(tokenizer.model, models.WordPiece)
    named: dict[str, Any] = {"cls_token": "[CLS]", "sep_token": "[SEP]"} if bert else {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        if (path := directory / file).is_file():
            told = {name: token for name, token in read_object(path).items() if name in _ENDS and token is not None}
            named |= {name: _spelled(token, f"{path}: {name}") for name, token in told.items()}

    def find(*names: str) -> int | None:
        ids = (tokenizer.token_to_id(named[name]) for name in names if name in named)
        return next((i for i in ids if i is not None), None)

    return find("bos_token", "cls_token"), find("eos_token", "sep_token")


def _spelled(token: Any, what: str) -> str:
    """The text of a token that a file names, by itself or as an object with its "content"."""
    text = token.get("content") if isinstance(token, dict) else token
    if not isinstance(text, str):
        raise ValueError(f'{what}={shown(token)} (wanted a text, or an object with "content")')
    return text


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
