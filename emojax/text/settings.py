"""What a SentencePiece tokenizer says in tokenizer.json, as far as it is implemented in the graph; all else is refused.

    normalizer      Precompiled, alone or in a Sequence before Strip and Replace of " {2,}" by " " or "▁"
    pre_tokenizer   Metaspace, alone or in a Sequence after WhitespaceSplit
    model           Unigram without `byte_fallback` and sampling

These are XLM-R, multilingual MiniLM, paraphrase-multilingual-mpnet-base-v2, BGE-M3 and what else `transformers` makes
of the same SentencePiece files.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from emojax.text.charsmap import META, SPACE, UNDERLINE, read_charsmap
from emojax.text.unigram import Join, Strip

if TYPE_CHECKING:
    import tokenizers

_UNKNOWN_PENALTY = 10.0  # an unknown character scores so much less than the lowest piece


@dataclass(frozen=True)
class Settings:
    forms: dict[str, str]  # the character map
    steps: tuple[Strip | Join, ...]  # normalisers after it
    split: bool  # white space parts words and is lost; else a space is "▁"
    pieces: dict[str, int]  # the id of each that a word can hold
    scores: np.ndarray  # f64[V + 1] by id, that of an unknown character last
    unknown: int  # the id of unknown characters


def read(reward: "tokenizers.Tokenizer") -> Settings:
    """Raises ValueError that names what is not implemented."""
    told = json.loads(reward.to_str())
    forms, steps = _normalizer(told["normalizer"])
    split = _pre_tokenizer(told["pre_tokenizer"])
    return Settings(forms, steps, split, *_model(told["model"]))


def _refuse(part: str, got: str, wanted: str) -> ValueError:
    return ValueError(
        f"the reward model's tokenizer has the model Unigram and the {part} {got}; {wanted} is converted exactly inside"
        " the graph: use a reward model with the tokenizer of XLM-R or of BERT"
    )


def _parts(told: dict[str, Any] | None, inside: str) -> list[dict[str, Any]]:
    """The members of a Sequence, or the one part."""
    if told is None:
        return []
    return told[inside] if told["type"] == "Sequence" else [told]


def _normalizer(told: dict[str, Any] | None) -> tuple[dict[str, str], tuple[Strip | Join, ...]]:
    parts = _parts(told, "normalizers")
    kinds = [part["type"] for part in parts]
    wanted = 'Precompiled, which Strip and Replace of " {2,}" by " " or "▁" may follow,'
    if kinds[:1] != ["Precompiled"] or set(kinds[1:]) - {"Strip", "Replace"}:
        raise _refuse("normalizer", " and ".join(kinds) or "None", wanted)
    steps: list[Strip | Join] = []
    for part in parts[1:]:
        if part["type"] == "Strip":
            steps.append(Strip(part["strip_left"], part["strip_right"]))
        elif part["pattern"] == {"Regex": " {2,}"} and part["content"] in (" ", UNDERLINE):
            steps.append(Join(SPACE if part["content"] == " " else META))
        else:
            raise _refuse("normalizer", f"Replace of {part['pattern']} by {part['content']!r}", wanted)
    return read_charsmap(parts[0]["precompiled_charsmap"]), tuple(steps)


def _pre_tokenizer(told: dict[str, Any] | None) -> bool:
    parts = _parts(told, "pretokenizers")
    kinds = [part["type"] for part in parts]
    wanted = f"Metaspace that puts {UNDERLINE!r} before each word and splits there, alone or after WhitespaceSplit,"
    if kinds not in (["Metaspace"], ["WhitespaceSplit", "Metaspace"]):
        raise _refuse("pre-tokenizer", " and ".join(kinds) or "None", wanted)
    options = {name: parts[-1].get(name) for name in ("replacement", "prepend_scheme", "split")}
    if options != {"replacement": UNDERLINE, "prepend_scheme": "always", "split": True}:
        raise _refuse("pre-tokenizer", f"Metaspace with {options}", wanted)
    return len(parts) == 2


def _model(told: dict[str, Any]) -> tuple[dict[str, int], np.ndarray, int]:
    for option in ("byte_fallback", "alpha", "nbest_size"):
        if told.get(option):
            raise _refuse("option", f"{option}={told[option]} of it", "the best path over characters alone")
    if told["unk_id"] is None:
        raise ValueError("the reward model's tokenizer has no token for unknown characters (`unk_id`)")
    unknown = told["unk_id"]
    scores = np.array([score for _, score in told["vocab"]], np.float64)
    ids = {piece: i for i, (piece, _) in enumerate(told["vocab"])}  # of equal pieces the last counts, as it does there
    spelling = told["vocab"][unknown][0]
    longer = [piece for piece in ids if spelling in piece and piece != spelling]
    if longer:  # the library looks up the text of neighbouring unknown tokens once more, as one piece
        raise ValueError(f"the reward model's vocabulary has pieces that contain its unknown token: {longer[:5]}")
    # Every word begins with "▁" and has it nowhere else.
    pieces = {piece: i for piece, i in ids.items() if piece and UNDERLINE not in piece[1:]}
    return pieces, np.append(scores, scores.min() - _UNKNOWN_PENALTY), unknown
