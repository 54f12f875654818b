"""Emotion wheels: the sector of a wheel that a word stands in; the reward's own concepts, `plutchik8`, or a file.

A file is JSON, a wheel an object of levels, a level an object of sectors, a sector the list of its words, in all forms
in which captions write them:

    {"wheel 1": {"1": {"happy": ["happy", "happily", "joy"], "sad": [...]}, "2": {"playful": [...]}}}

A word may stand in several wheels, and in each in one sector. The emotion-wheel (EW) score of AffectGPT-R1 (arXiv
2508.01318) is the mean of the F1 over five published wheels, whose tables are not free to redistribute: bring them in
such a file, and write its checksum beside each score, for versions of them differ.
"""

import functools
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from emojax.config import ConfigError
from emojax.config.concepts import Attribute, Concept

log = logging.getLogger(__name__)

# Plutchik (1980): eight sectors of three intensities each, strongest first; the words of each are ours
_PLUTCHIK = {
    "joy": (
        "ecstasy ecstatic elated",
        "joy joyful joyfully happy happily happiness cheerful",
        "serenity serene content",
    ),
    "trust": ("admiration admiring", "trust trusting trustful", "acceptance accepting friendly"),
    "fear": ("terror terrified", "fear fearful afraid scared frightened", "apprehension apprehensive anxious worried"),
    "surprise": ("amazement amazed astonished shocked", "surprise surprised", "distraction distracted uncertain"),
    "sadness": ("grief grieving despair", "sadness sad sadly sorrow sorrowful unhappy", "pensiveness pensive gloomy"),
    "disgust": ("loathing revolted", "disgust disgusted repulsed", "boredom bored averse"),
    "anger": ("rage enraged furious fury", "anger angry angrily", "annoyance annoyed irritated"),
    "anticipation": ("vigilance vigilant", "anticipation anticipating expectant eager", "interest interested curious"),
    "neutral": ("", "neutral calm calmly unemotional", ""),
}
_DYADS = {  # words of two neighbours at once
    "love loving": ("joy", "trust"),
    "submission submissive": ("trust", "fear"),
    "awe awed": ("fear", "surprise"),
    "disapproval disapproving": ("surprise", "sadness"),
    "remorse remorseful": ("sadness", "disgust"),
    "contempt contemptuous": ("disgust", "anger"),
    "aggressiveness aggressive": ("anger", "anticipation"),
    "optimism optimistic": ("anticipation", "joy"),
}


def plutchik8(level: int) -> tuple[Attribute, ...]:
    """The wheel as one attribute: at level 1 eight sectors and neutral, at level 2 their intensities."""
    pairs = {name: [w for words, both in _DYADS.items() if name in both for w in words.split()] for name in _PLUTCHIK}
    if level == 1:
        found = [Concept(name, (*" ".join(each).split(), *pairs[name])) for name, each in _PLUTCHIK.items()]
    else:
        each = [words.split() for words in (w for ring in _PLUTCHIK.values() for w in ring) if words]
        found = [Concept(words[0], tuple(words)) for words in each]
    return (Attribute("plutchik8", tuple(found)),)


def read(path: str, level: int, sha256: str) -> tuple[Attribute, ...]:
    """The wheels of a file.

    Raises:
      ConfigError: no such file, another content than `sha256` tells (empty: any), a wheel without that level, or a word
        in two sectors of one.
    """
    file, what = Path(path).expanduser(), f"reward.parts: wheel(table={path})"
    if not file.is_file():
        raise ConfigError(f"{what}: there is no file {file.absolute()}; wanted concepts, plutchik8 or a JSON file")
    return _read(file.read_bytes(), level, sha256, what)


@functools.lru_cache(maxsize=4)
def _read(content: bytes, level: int, sha256: str, what: str) -> tuple[Attribute, ...]:
    here = hashlib.sha256(content).hexdigest()
    if sha256 not in ("", here):
        raise ConfigError(f"{what}: the file's SHA-256 is {here}, wanted {sha256}: another version of the tables")
    log.info("%s: SHA-256 %s", what, here)
    try:
        wheels = json.loads(content)
        found = [Attribute(name, _sectors(levels[str(level)])) for name, levels in wheels.items()]
    except (ValueError, KeyError, AttributeError, TypeError) as e:
        raise ConfigError(
            f'{what}: wanted {{"wheel": {{"{level}": {{"sector": ["word", ...]}}}}}}, got {type(e).__name__}: {e}'
        ) from None
    for wheel in found:
        words = [word.casefold() for sector in wheel.values for word in sector.words]
        if twice := sorted({word for word in words if words.count(word) > 1}) if len(set(words)) < len(words) else []:
            raise ConfigError(f"{what}: {twice[:5]} stand in two sectors of {wheel.name!r}; wanted one")
    return tuple(found)


def _sectors(level: dict[str, Any]) -> tuple[Concept, ...]:
    return tuple(Concept(name, tuple(map(str, words))) for name, words in level.items())
