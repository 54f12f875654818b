"""The emotion plane: captions and references in the emotion coordinates, along the two directions they vary most in."""

from collections.abc import Sequence

import numpy as np

from emojax.evaluation.by_clip import Scored
from emojax.report.charts import BOTTOM, KINDS, LEFT, TOP, Frame, mark
from emojax.report.page import Html, details, element, joined, section
from emojax.report.runs import Run
from emojax.report.tables import table

_WIDTH, _HEIGHT, _RIGHT = 760, 520, 20
_MOST = 1000  # clips that are drawn


def principal(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal components (Pearson 1901) of f64[N C]: mean [C], the first two directions [2 C], their shares [2] of
    the variance. A direction's sign is that which makes its largest component positive."""
    mean = x.mean(0)
    _, size, rows = np.linalg.svd(x - mean, full_matrices=False)
    rows = np.vstack([rows, np.zeros((2, x.shape[1]))])[:2]
    largest = np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], 1)
    power = np.append(np.square(size), [0.0, 0.0])
    return mean, rows * np.where(largest < 0, -1.0, 1.0), power[:2] / max(power.sum(), 1e-30)


def plane(run: Run) -> Html:
    """Nothing where there are no coordinates."""
    name = run.judged
    clips = [one for one in run.clips if name and one.place and one.said[name].place]
    if len(clips) < 3 or name is None:
        return Html()
    step = -(-len(clips) // _MOST)
    clips = clips[::step]
    both = np.array([one.said[name].place for one in clips] + [one.place for one in clips])
    mean, rows, shares = principal(both)
    flat = (both - mean) @ rows.T
    said, meant = flat[: len(clips)], flat[len(clips) :]
    (left, low), (right, high) = flat.min(0), flat.max(0)
    room = 0.06 * max(right - left, high - low, 1e-6)
    edges = ((left - room, right + room), (low - room, high + room))
    frame = Frame(*edges, right=_WIDTH - _RIGHT, bottom=_HEIGHT - BOTTOM)
    labels = sorted({one.clip.emotion for one in clips if one.clip.emotion})
    references = [_reference(frame, *place) for place in meant]
    captions = [_caption(frame, one, name, place, labels) for one, place in zip(clips, said, strict=True)]
    names = [_middle(frame, label, clips, meant) for label in labels]
    names += [_key(label, n) for n, label in enumerate(labels)]
    told = f"Emotion plane of {len(clips)} captions and their references; the table below has the clips."
    at = {"viewBox": f"0 0 {_WIDTH} {_HEIGHT}", "role": "img", "aria-label": told, "data-points": len(clips)}
    sides = element(
        "rect", at={"class": "axis", "x": LEFT, "y": TOP, "width": frame.right - LEFT, "height": frame.bottom - TOP}
    )
    about = (
        f"Each mark is a caption of {name}, its shape and colour the clip's label, with a rim where it names another "
        "emotion; small dots are the references. Point at a mark for its texts. A name stands in the middle of its "
        f"references. Across {shares[0]:.0%} and upwards {shares[1]:.0%} of the variance of the emotion coordinates."
    )
    return section(
        "Emotion plane",
        element("p", about, at={"class": "soft"}),
        element("figure", element("svg", sides, *references, *captions, *names, at=at)),
        details(f"The {len(clips)} clips as a table", _table(clips, name, said)),
    )


def _reference(frame: Frame, x: float, y: float) -> Html:
    return element("circle", at={"class": "reference", "cx": frame.across(x), "cy": frame.down(y), "r": 1.8})


def _caption(frame: Frame, one: Scored, name: str, place: np.ndarray, labels: Sequence[str]) -> Html:
    own, label = one.said[name], one.clip.emotion
    kind = labels.index(label) % KINDS if label else 0
    wrong = label is not None and own.named != label
    told = f"{own.caption}\nreference: {one.clip.captions[0]}\nreward {own.scores['reward']:.3f}, {one.clip.id}"
    told += f", label {label}" if label else ""
    x, y = frame.across(float(place[0])), frame.down(float(place[1]))
    return mark(x, y, kind, told, "mark wrong" if wrong else "mark")


def _key(label: str, n: int) -> Html:
    y = TOP + 16 + 16 * n
    name = element("text", label, at={"class": "name", "x": LEFT + 24, "y": y + 4})
    return joined(mark(LEFT + 14, y, n), name)


def _middle(frame: Frame, label: str, clips: Sequence[Scored], meant: np.ndarray) -> Html:
    own = np.array([place for one, place in zip(clips, meant, strict=True) if one.clip.emotion == label])
    x, y = np.median(own, 0).tolist()
    return element(
        "text", label, at={"class": "place", "x": frame.across(x), "y": frame.down(y), "text-anchor": "middle"}
    )


def _table(clips: Sequence[Scored], name: str, said: np.ndarray) -> Html:
    rows = []
    for one, (x, y) in zip(clips, said, strict=True):
        own, score = one.said[name], one.said[name].scores["reward"]
        known = [one.clip.emotion or "", own.named or ""]
        rows.append([one.clip.id, own.caption, one.clip.captions[0], *known, f"{score:.3f}", f"{x:.3f}", f"{y:.3f}"])
    head = ["clip", "caption", "reference", "label", "named", "reward", "across", "up"]
    return table(head, rows, numbers=False)
