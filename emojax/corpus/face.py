"""A drawn face that moves by facial action units.

The units and what each moves are the Facial Action Coding System's (Ekman & Friesen 1978; Ekman, Friesen & Hager 2002),
and so are the prototypes of the six emotions. Shapes are signed distances on the pixel grid, a pixel wide at the edge,
all frames of a clip at once.

Coordinates: x to the right and y up, from -1 to 1 over the picture; the head fills most of it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Actions = dict[int, np.ndarray]  # action unit -> strength in each frame, about 0..1 [S]

EMOTIONS: dict[str, dict[int, float]] = {  # at middle intensity
    "neutral": {},
    "happy": {6: 0.9, 12: 1.0},
    "sad": {1: 1.0, 4: 0.4, 15: 1.0},
    "angry": {4: 1.0, 5: 0.4, 7: 0.7, 23: 1.0},
    "surprised": {1: 1.0, 2: 1.0, 5: 0.9, 26: 1.0},
    "disgusted": {9: 1.0, 15: 0.5, 16: 0.8},
    "fearful": {1: 0.9, 2: 0.5, 4: 0.6, 5: 1.0, 20: 1.0, 26: 0.35},
}
UNITS = (1, 2, 4, 5, 6, 7, 9, 12, 15, 16, 20, 23, 26)
BLINK = 45
ZOOM = 1.15  # how far the head fills the picture

Hair = Literal["short", "long", "bald", "bob"]
Color = tuple[float, float, float]  # red, green, blue, 0..1
DARK: Color = (0.16, 0.07, 0.07)
WHITE: Color = (0.96, 0.96, 0.94)
GREY: Color = (0.56, 0.56, 0.58)


@dataclass(frozen=True)
class Face:
    """What a speaker's face is at rest."""

    skin: Color
    hair: Color
    cut: Hair
    iris: Color
    lips: Color
    clothes: Color
    wall: Color
    width: float  # of the head, relative
    jaw: float  # width of the lower face relative to the upper
    eyes: float  # size of the eyes, relative
    gap: float  # distance of the eyes from the middle
    brow: float  # thickness of the brows
    brow_height: float  # of the resting brows above their usual place
    corners: float  # of the resting mouth above its middle
    glasses: bool
    beard: bool
    vigour: float  # how strongly this face shows what it feels, relative
    lines: float  # depth of the lines that age draws, 0..1
    temples: bool  # they are grey


@dataclass(frozen=True)
class Canvas:
    """The pictures of a clip being painted, and the face's own coordinates in each of their pixels."""

    image: np.ndarray  # f32[3 S height width], 0..1
    x: np.ndarray  # f32[S height width]
    y: np.ndarray  # f32[S height width]
    pixel: float  # width of a pixel

    def rows(self, low: float, high: float) -> "Canvas":
        """The strip of the picture whose upright height is between `low` and `high`: painting little costs little."""
        size = self.image.shape[2]
        cut = slice(max(int((1 - ZOOM * high) / 2 * size), 0), max(int((1 - ZOOM * low) / 2 * size) + 1, 1))
        return Canvas(self.image[:, :, cut], self.x[:, cut], self.y[:, cut], self.pixel)

    def paint(self, color: Color, distance: np.ndarray, strength: float = 1.0) -> None:
        """Lay `color` where the signed `distance` to a shape's edge is negative."""
        cover = np.clip(0.5 - distance / self.pixel, 0, strength)
        for plane, value in zip(self.image, color, strict=True):
            plane += cover * (np.float32(value) - plane)


def act(face: Face, emotion: str, strength: float, times: np.ndarray, rng: np.random.Generator) -> Actions:
    """The action units of a clip whose frames lie at `times` (seconds): onset, apex and slow decay of an emotion."""
    onset, rise = rng.uniform(0.0, 0.25), rng.uniform(0.15, 0.4)
    ramp = np.clip((times - onset) / rise, 0, 1)
    course = ramp * ramp * (3 - 2 * ramp) * (1 - 0.2 * times / times[-1] if times[-1] > 0 else 1)
    wave = np.sin(2 * np.pi * (rng.uniform(0.3, 0.8, (len(UNITS), 1)) * times + rng.random((len(UNITS), 1))))
    target = np.array([EMOTIONS[emotion].get(unit, 0.0) for unit in UNITS])[:, None]
    target = target * rng.uniform(0.8, 1.15, target.shape)
    level = np.clip(target * strength * face.vigour * course + 0.05 * wave, 0, 1.5)
    blinks = rng.uniform(0, 1.6) + 1.9 * np.arange(8)
    closed = np.exp(-(((times[:, None] - blinks) / 0.07) ** 2)).max(axis=1)
    return dict(zip((*UNITS, BLINK), (*level, closed), strict=True))


def draw(face: Face, actions: Actions, speech: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """The frames: u8[S size size 3]. `speech` [S] opens the mouth as the words do."""
    frames = len(speech)
    axis = ((np.arange(size) + 0.5) * 2 / size - 1).astype(np.float32)
    sway = np.cumsum(rng.normal(0, 0.01, (3, frames)), axis=1) + rng.normal(0, (0.025, 0.015, 0.03), (1, 3)).T
    sadness, delight = actions[15] * actions[1], actions[26] * actions[2]
    down = sway[1] - 0.08 * sadness + 0.03 * delight
    turn, across, down = (value.astype(np.float32)[:, None, None] for value in (sway[2], sway[0], down))
    x, y = axis[None, None, :] / ZOOM - across, -axis[None, :, None] / ZOOM - down + 0.04
    canvas = Canvas(
        image=np.empty((3, frames, size, size), np.float32), x=x + turn * y, y=y - turn * x, pixel=2 / size / ZOOM
    )
    _behind(canvas, face, axis)
    _head(canvas, face, actions)
    _lines(canvas.rows(-0.5, 0.65), face)
    _eyes(canvas.rows(-0.15, 0.5), face, actions)
    _brows(canvas.rows(0.0, 0.75), face, actions)
    _nose(canvas.rows(-0.5, 0.35), face, actions)
    _mouth(canvas.rows(-1.0, 0.0), face, actions, speech)
    noise = rng.normal(0, 0.012, (frames, size, size)).astype(np.float32)
    return np.ascontiguousarray(
        np.rint(np.clip(canvas.image + noise, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 3, 0)
    )


def _ellipse(x: np.ndarray, y: np.ndarray, width: float | np.ndarray, height: float | np.ndarray) -> np.ndarray:
    """About the signed distance to an ellipse around the origin."""
    return (np.sqrt((x / width) ** 2 + (y / height) ** 2) - 1) * np.minimum(width, height)


def _shade(color: Color, factor: float) -> Color:
    return (color[0] * factor, color[1] * factor, color[2] * factor)


def _column(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)[:, None, None]


def _behind(canvas: Canvas, face: Face, axis: np.ndarray) -> None:
    """The wall, long hair, shoulders and neck."""
    light = (1 - 0.12 * axis)[None, None, :, None]
    canvas.image[:] = np.array(face.wall, np.float32)[:, None, None, None] * light
    x, y = canvas.x, canvas.y
    if face.cut == "long":
        canvas.paint(_shade(face.hair, 0.85), _ellipse(x, y + 0.12, 0.86 * face.width, 0.98))
    if face.cut == "bob":
        canvas.paint(_shade(face.hair, 0.85), _ellipse(x, y - 0.12, 0.84 * face.width, 0.72))
    low = canvas.rows(-1.0, -0.4)
    low.paint(_shade(face.skin, 0.8), np.maximum(np.abs(low.x) - 0.3, low.y + 0.4))
    low.paint(face.clothes, _ellipse(low.x, low.y + 1.25, 1.05, 0.42))


def _head(canvas: Canvas, face: Face, actions: Actions) -> None:
    """Ears, the head with its jaw (which AU26 lowers), cheeks, hair and beard."""
    x, y = canvas.x, canvas.y
    wide = 0.68 * face.width
    drop = _column(0.1 * actions[26])
    taper = 1 + (1 - face.jaw) * np.clip(-y, 0, 1) ** 1.5
    tall = np.where(y < 0, 0.84 + drop, 0.84)
    outline = _ellipse(x * taper, y, wide, tall)
    for side in (-1, 1):
        canvas.paint(_shade(face.skin, 0.88), _ellipse(x - side * wide, y - 0.02, 0.1, 0.17))
    canvas.paint(face.skin, outline)
    canvas.paint(_shade(face.skin, 0.85), np.maximum(outline, -(_ellipse(x + 0.1, y - 0.04, wide, 0.86))), 0.6)
    cheeks = canvas.rows(-0.6, 0.1)
    raised = _column(actions[6])
    blush = (min(face.skin[0] * 1.02, 1), face.skin[1] * 0.78, face.skin[2] * 0.78)
    for side in (-1, 1):
        spot = _ellipse(cheeks.x - side * 0.4, cheeks.y + 0.2 - 0.06 * raised, 0.2, 0.13)
        cheeks.paint(blush, spot + 0.1 * (1 - np.clip(raised, 0, 1)), 0.45)
    if face.beard:
        jaw = canvas.rows(-1.0, 0.0)
        cut = (slice(None), slice(canvas.y.shape[1] - jaw.y.shape[1], None))
        mask = np.maximum(outline[cut], jaw.y + 0.3 + 0.35 * (jaw.x / wide) ** 2 * -1)
        jaw.paint(face.hair, mask, 0.65)
    if face.cut != "bald":
        line = 0.58 - (0.12 if face.cut == "short" else 0.25) * (x / wide) ** 2
        cap = _ellipse(x, y - 0.02, wide * 1.06, 0.9)
        canvas.paint(face.hair, np.maximum(cap, line - y))
        if face.temples:
            sides = np.maximum(np.maximum(cap, line - y), wide * 0.55 - np.abs(x))
            canvas.paint(GREY, sides, 0.9)


def _lines(canvas: Canvas, face: Face) -> None:
    """What age leaves at rest: lines across the forehead, at the outer corners of the eyes and under them."""
    if face.lines <= 0:
        return
    x, y = canvas.x, canvas.y
    dark = _shade(face.skin, 0.62)
    for height in (0.44, 0.51):
        canvas.paint(dark, np.maximum(np.abs(y - height + 0.1 * x * x) - 0.014, np.abs(x) - 0.3), 0.85 * face.lines)
    for side in (-1, 1):
        outer = side * x - face.gap - 0.2
        for slope in (0.5, -0.5):
            ray = np.maximum(np.abs(y - 0.12 - slope * outer) - 0.012, np.abs(outer - 0.06) - 0.06)
            canvas.paint(dark, ray, 0.8 * face.lines)
        under = np.abs(y - 0.0 + 0.6 * (1 - ((side * x - face.gap) / 0.18) ** 2) * 0.06) - 0.014
        canvas.paint(dark, np.maximum(under, np.abs(side * x - face.gap) - 0.16), 0.8 * face.lines)


def _eyes(canvas: Canvas, face: Face, actions: Actions) -> None:
    """Lids open with AU5 and narrow with AU6, AU7, AU9 and blinks; glasses on top."""
    shut = np.clip(1 - actions[BLINK], 0.05, 1)
    half = 0.17 * face.eyes
    upper = _column((0.085 + 0.075 * actions[5] - 0.035 * actions[7] - 0.02 * actions[6] - 0.025 * actions[9]) * shut)
    lower = _column((0.055 + 0.02 * actions[5] - 0.045 * actions[6] - 0.03 * actions[7] - 0.03 * actions[9]) * shut)
    upper, lower = np.maximum(upper, 0.01) * face.eyes, np.maximum(lower, 0.005) * face.eyes
    gaze = _column(-0.04 * actions[15] * actions[1])
    for side in (-1, 1):
        x, y = canvas.x - side * face.gap, canvas.y - 0.12
        bend = 1 - (x / half) ** 2
        almond = np.maximum(np.maximum(y - upper * bend, -y - lower * bend), np.abs(x) - half)
        canvas.paint(WHITE, almond)
        iris = _ellipse(x, y - gaze, 0.085, 0.085)
        canvas.paint(face.iris, np.maximum(iris, almond))
        canvas.paint((0.05, 0.05, 0.05), np.maximum(iris + 0.045, almond))
        lid = np.maximum(np.abs(y - upper * bend) - 0.018, np.abs(x) - half)
        canvas.paint(DARK, lid, 0.85)
        if face.glasses:
            canvas.paint((0.1, 0.1, 0.12), np.abs(_ellipse(x, y, 0.235, 0.19)) - 0.016, 0.8)
    if face.glasses:
        bridge = np.maximum(np.abs(canvas.y - 0.14) - 0.015, np.abs(canvas.x) - (face.gap - 0.235))
        canvas.paint((0.1, 0.1, 0.12), bridge, 0.8)


def _brows(canvas: Canvas, face: Face, actions: Actions) -> None:
    """AU1 raises the inner ends, AU2 the outer ones, AU4 lowers the inner ends and draws them together."""
    pull = 0.15 * actions[4] + 0.07 * actions[9]
    inner = _column(0.14 * actions[1] - pull)
    outer = _column(0.13 * actions[2] - 0.04 * actions[4] - 0.02 * actions[9] - 0.03 * actions[1] * (1 - actions[2]))
    shift = _column(0.06 * actions[4] + 0.02 * actions[9])
    half = 0.2
    for side in (-1, 1):
        u = (side * canvas.x - face.gap + shift) / half  # -1 at the inner end, 1 at the outer
        along = (np.clip(u, -1, 1) + 1) / 2
        arch = 0.04 * (1 - u * u)
        middle = 0.32 + face.brow_height + inner * (1 - along) ** 1.3 + outer * along + arch
        band = np.abs(canvas.y - middle) - face.brow * (1.15 - 0.4 * along)
        canvas.paint(_shade(face.hair, 0.6), np.maximum(band, (np.abs(u) - 1) * half), 0.92)
    furrow = np.maximum(np.abs(np.abs(canvas.x) - 0.05) - 0.014, np.abs(canvas.y - 0.3) - 0.08)
    canvas.paint(_shade(face.skin, 0.6), furrow + _column(0.05 * (1 - np.clip(actions[4], 0, 1))), 0.7)


def _nose(canvas: Canvas, face: Face, actions: Actions) -> None:
    """AU9 lifts the nostrils, wrinkles the bridge and deepens the folds beside the nose, as AU12 does a little."""
    x, y = canvas.x, canvas.y
    wrinkle = np.clip(actions[9], 0, 1.3)
    lift = _column(0.06 * wrinkle)
    dark = _shade(face.skin, 0.68)
    canvas.paint(_shade(face.skin, 0.86), _ellipse(x - 0.05, y + 0.04, 0.05, 0.2), 0.6)
    for side in (-1, 1):
        canvas.paint(dark, _ellipse(x - side * 0.085, y + 0.22 - lift, 0.055 + 0.3 * lift, 0.035))
        fold = np.abs(side * x - 0.26 - 0.35 * (-y - 0.15)) - 0.016
        deep = _column(np.maximum(1.1 * wrinkle, 0.55 * np.clip(actions[12], 0, 1)))
        canvas.paint(dark, np.maximum(fold, np.abs(y + 0.27) - 0.13) + 0.05 * np.clip(1 - deep, 0, 1), 0.8)
    for height in (0.02, 0.09, 0.16):
        crease = np.maximum(np.abs(y - height + 0.5 * np.abs(x)) - 0.013, np.abs(x) - 0.13)
        canvas.paint(dark, crease + _column(0.05 * np.clip(1 - wrinkle, 0, 1)), 0.8)


def _mouth(canvas: Canvas, face: Face, actions: Actions, speech: np.ndarray) -> None:
    """AU12 lifts the corners, AU15 drops, AU20 spreads them; AU16, AU26 and speech part the lips, AU23 thins them."""
    smile, frown, stretch, press = actions[12], actions[15], actions[20], actions[23]
    sneer, lowered, jaw = actions[9], actions[16], actions[26]
    half = _column(0.27 * (1 + 0.3 * smile + 0.4 * stretch - 0.22 * press - 0.25 * jaw - 0.12 * speech))
    corner = _column(face.corners + 0.15 * smile - 0.16 * frown - 0.04 * stretch)
    talk = speech * (1 - 0.6 * np.clip(press, 0, 1))
    up = _column(0.005 + 0.02 * talk + 0.09 * sneer + 0.02 * stretch)
    down = _column(0.005 + 0.1 * talk + 0.3 * jaw + 0.09 * lowered + 0.07 * smile + 0.06 * stretch)
    lip = _column(0.055 * (1 - 0.65 * np.clip(press, 0, 1.2)))
    x, y = canvas.x, canvas.y + 0.45
    u = np.clip(x / half, -1.1, 1.1)
    bow = 1 - u * u
    middle = corner * (u * u - 0.4)
    edge = (np.abs(x) - half).astype(np.float32)
    top, bottom = middle + up * bow, middle - down * bow
    full = lip * (0.35 + 0.65 * np.clip(bow, 0, 1))
    canvas.paint(face.lips, np.maximum(np.maximum(y - top - full, bottom - full * 1.15 - y), edge))
    inside = np.maximum(np.maximum(y - top, bottom - y), edge + 0.02)
    canvas.paint(DARK, inside)
    teeth = _column(np.clip(0.09 * smile + 0.06 * stretch + 0.05 * sneer, 0, 0.12))
    canvas.paint(WHITE, np.maximum(inside + 0.008, top - teeth * bow - y) + np.where(teeth > 0.02, 0, 1))
    below = _column(np.clip(0.06 * lowered, 0, 0.1))
    canvas.paint(WHITE, np.maximum(inside + 0.008, y - bottom - below * bow) + np.where(below > 0.02, 0, 1))
