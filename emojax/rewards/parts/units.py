"""Facial action units that a caption names, against its clip's: F1 rescaled to −1 to 1 (Facial-R1).

A clip's own stand in the manifest's attribute `action_units`, as in "AU4 AU15"; without it the clip is not scorable.
The units are those of the Facial Action Coding System (Ekman & Friesen 1978); phrases besides their names are ours.
"""

import re
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from emojax.config import ConfigError
from emojax.config.concepts import Attribute, Concept
from emojax.rewards import lexicon, sets
from emojax.rewards.inputs import Captions
from emojax.rewards.lexicon import Lexicon
from emojax.rewards.part import NoOptions
from emojax.rewards.reader import Reader, Scored
from emojax.types import Array, References

NEEDS = ("bytes",)
ATTRIBUTE = "action_units"
_UNITS = {
    1: "inner brow raiser, inner brows raised, raised inner brows, inner eyebrows raised",
    2: "outer brow raiser, outer brows raised, raised outer brows, outer eyebrows raised",
    4: "brow lowerer, lowered brows, brows lowered, furrowed brows, furrowed brow, frown, frowning, frowns",
    5: "upper lid raiser, raised upper lids, widened eyes, wide eyes, eyes widened",
    6: "cheek raiser, raised cheeks, cheeks raised",
    7: "lid tightener, tightened lids, tightened eyelids, narrowed eyes",
    9: "nose wrinkler, wrinkled nose, nose wrinkled",
    10: "upper lip raiser, raised upper lip, upper lip raised",
    12: "lip corner puller, lip corners pulled up, raised lip corners, smile, smiling, smiles",
    14: "dimpler, dimples",
    15: "lip corner depressor, lip corners pulled down, lowered lip corners, mouth corners turned down",
    17: "chin raiser, raised chin, chin raised",
    20: "lip stretcher, stretched lips, lips stretched",
    23: "lip tightener, tightened lips, lips tightened",
    24: "lip pressor, pressed lips, lips pressed together",
    25: "lips part, parted lips, lips parted",
    26: "jaw drop, dropped jaw, jaw dropped",
    27: "mouth stretch, mouth wide open",
    43: "eyes closed, closed eyes",
    45: "blink, blinking, blinks",
}


def units() -> tuple[Attribute, ...]:
    return (
        Attribute(
            ATTRIBUTE,
            tuple(
                Concept(f"AU{n}", (f"AU{n}", f"AU{n:02}", f"action unit {n}", *words.split(", ")))
                for n, words in _UNITS.items()
            ),
        ),
    )


def arrays(options: NoOptions, reader: Reader) -> Lexicon:
    return lexicon.build(units())


def of_clips(options: NoOptions, reader: Reader, clips: Sequence[Scored]) -> np.ndarray:
    """bool[clips units]"""
    place = {f"AU{n}": i for i, n in enumerate(_UNITS)}
    out = np.zeros((len(clips), len(place)), bool)
    for row, clip in zip(out, clips, strict=True):
        for number in re.findall(r"\w+", clip.attributes.get(ATTRIBUTE, "").upper()):
            name = f"AU{number.removeprefix('AU').lstrip('0')}"
            if name not in place:
                raise ConfigError(f'"{ATTRIBUTE}" in the manifest: {number!r} is none of {", ".join(place)}')
            row[place[name]] = True
    return out


def score(options: NoOptions, arrays: Lexicon, captions: Captions, clips: References) -> Array:
    named = lexicon.named_of(arrays, captions.bytes)
    return 2 * sets.agreement(named, clips.own, jnp.asarray(arrays.value), 1, "f1") - 1
