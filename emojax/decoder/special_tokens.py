"""The tokens that begin and end a caption, as the files of published language models have them."""

from typing import Any

from emojax.config import DecoderConfig
from emojax.hub.options import TOKEN, Rule, each

END = Rule("a token's id, which ends a caption", lambda end: each(TOKEN).holds(_listed(end)))


def _listed(end: int | list[int]) -> list[int]:
    return end if isinstance(end, list) else [end]


def read(start: int | None, end: int | list[int]) -> tuple[int, int]:
    """The start and the end of a caption: of several ends the first, which is also the start where none is given.

    >>> read(None, [7, 9])
    (7, 7)
    """
    first = _listed(end)[0]
    return first if start is None else start, first


def generation_json(sizes: DecoderConfig) -> dict[str, Any]:
    """The `generation_config.json`."""
    return {"bos_token_id": sizes.start_token, "eos_token_id": sizes.end_token, "pad_token_id": sizes.end_token}
