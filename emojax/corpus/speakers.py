"""The people of the built-in corpus: voices and faces drawn from a seed."""

from dataclasses import dataclass

import numpy as np

from emojax.corpus.face import GREY, Color, Face, Hair
from emojax.corpus.voice import Voice

SPLITS = ("train", "validation", "test")
AGES = ("young", "middle-aged", "elderly")
PITCH = {"woman": 205.0, "man": 115.0}  # Hz, the mean speaker's

SKINS: tuple[Color, ...] = (
    (0.96, 0.82, 0.72),
    (0.92, 0.74, 0.6),
    (0.82, 0.62, 0.46),
    (0.7, 0.5, 0.37),
    (0.56, 0.38, 0.28),
)
HAIRS: tuple[Color, ...] = (
    (0.1, 0.08, 0.07),
    (0.25, 0.15, 0.1),
    (0.45, 0.28, 0.14),
    (0.8, 0.64, 0.36),
    (0.55, 0.22, 0.1),
)
IRISES: tuple[Color, ...] = ((0.25, 0.15, 0.08), (0.3, 0.45, 0.6), (0.3, 0.45, 0.25), (0.4, 0.3, 0.15))
CUTS: dict[str, tuple[Hair, ...]] = {
    "woman": ("long", "long", "bob"),
    "man": ("short", "short", "short", "bald"),
}
TIMBRES = {"deep": -1.0, "medium": 0.0, "high": 1.0}  # how far above the mean of the same gender
LINES = {"young": 0.0, "middle-aged": 0.6, "elderly": 1.0}  # depth of the face's lines


@dataclass(frozen=True)
class Speaker:
    name: str
    split: str
    gender: str  # woman or man
    age: str  # one of AGES
    timbre: str  # deep, medium or high, among those of the same gender
    voice: Voice
    face: Face


def make_speakers(speakers: int, seed: int) -> list[Speaker]:
    """All speakers, split by split: an eighth for the test (rounded up), a twelfth for validation (down, but one)."""
    test, validation = -(-speakers // 8), max(speakers // 12, 1)
    counts = (speakers - test - validation, validation, test)
    splits = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
    return [_speaker(number, split, seed) for number, split in enumerate(splits)]


def _speaker(number: int, split: str, seed: int) -> Speaker:
    """Genders alternate, ages and timbres take turns, so that every split has its share of each."""
    rng = np.random.default_rng([seed, 1, number])
    gender, age = ("woman", "man")[number % 2], AGES[number // 2 % 3]
    timbre = tuple(TIMBRES)[(number // 2 + number // 6) % 3]  # every age has every timbre
    woman, old, high = gender == "woman", age == "elderly", TIMBRES[timbre]
    voice = Voice(
        pitch=PITCH[gender] * 2.0 ** ((3.5 * high + rng.uniform(-0.5, 0.5)) / 12),
        accent=rng.uniform(2.0, 3.0),
        tract=(1.17 if woman else 1.0) * (1 + 0.055 * high) * rng.uniform(0.99, 1.01),  # Peterson & Barney's women
        breath=rng.uniform(0.05, 0.15) + 0.05 * woman + 0.05 * old,
        tilt=2.5 * high + rng.uniform(-0.3, 0.3),
        level=rng.uniform(-1.0, 1.0),
        pace=rng.uniform(-0.06, 0.06) - 0.06 * old,
    )
    return Speaker(f"speaker-{number:02}", split, gender, age, timbre, voice, _face(gender, age, rng))


def _face(gender: str, age: str, rng: np.random.Generator) -> Face:
    woman, old = gender == "woman", age == "elderly"
    skin = SKINS[rng.integers(len(SKINS))]
    hair = GREY if old else HAIRS[rng.integers(len(HAIRS) if skin[0] > 0.75 else 2)]
    red, green, blue = skin
    return Face(
        skin=skin,
        hair=hair,
        cut=CUTS[gender][rng.integers(len(CUTS[gender]))],
        iris=IRISES[rng.integers(len(IRISES))],
        lips=(0.8 * red, (0.4 if woman else 0.65) * green, (0.45 if woman else 0.7) * blue),
        clothes=_color(rng, 0.15, 0.8, 0.0),
        wall=_color(rng, 0.55, 0.75, 0.07),
        width=rng.uniform(0.92, 1.08),
        jaw=rng.uniform(0.8, 0.95) if woman else rng.uniform(0.92, 1.08),
        eyes=rng.uniform(0.9, 1.1) + 0.04 * woman,
        gap=rng.uniform(0.28, 0.32),
        brow=rng.uniform(0.025, 0.04) + 0.01 * (not woman),
        brow_height=rng.uniform(-0.02, 0.02),
        corners=rng.uniform(-0.02, 0.02),
        glasses=bool(rng.random() < 0.25),
        beard=bool(not woman and rng.random() < 0.35),
        vigour=rng.uniform(0.92, 1.05),
        lines=LINES[age] + rng.uniform(-0.1, 0.1) * (age != "young"),
        temples=age == "middle-aged",
    )


def _color(rng: np.random.Generator, low: float, high: float, tint: float) -> Color:
    """A grey of random lightness with a tint; with no tint given, any colour."""
    red, green, blue = rng.uniform(low, high) + rng.uniform(-tint, tint, 3) if tint else rng.uniform(low, high, 3)
    return float(red), float(green), float(blue)
