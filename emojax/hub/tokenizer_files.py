"""A `tokenizer.json`: read by the library that it is for, or refused in one line."""

from pathlib import Path
from typing import TYPE_CHECKING

from emojax.storage import refuse_pointer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_IDS = 1 << 22  # ids of tokens lie below: tables have a row for each, and the largest published one has 262,145


def read(path: Path) -> "Tokenizer":
    """
    Raises:
      ValueError: no tokenizer of the `tokenizers` library, a Git LFS pointer, an id beyond all bounds.
    """
    return parse(path.read_bytes(), path)


def parse(data: bytes, what: object) -> "Tokenizer":
    """The tokenizer of a file's bytes; `what` is the file that an error names."""
    from tokenizers import Tokenizer

    refuse_pointer(data, what)
    try:
        tokenizer = Tokenizer.from_str(data.decode("utf-8-sig"))
        largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    except BaseException as e:  # the library raises bare Exception, and Rust's panics are not even that
        if not isinstance(e, Exception) and type(e).__name__ != "PanicException":
            raise
        why = str(e).partition("\n")[0][:200]
        raise ValueError(f"{what}: no tokenizer of the `tokenizers` library ({why}); get the file again") from None
    if largest >= _IDS:
        raise ValueError(f"{what}: a token has the id {largest}; wanted ids below {_IDS}")
    return tokenizer
