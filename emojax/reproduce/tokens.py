"""Captions that two runs sampled in the same step: which got another token, where, and what equal ones were worth."""

from dataclasses import dataclass

import numpy as np

from emojax.training.record_rows import Row


@dataclass(frozen=True)
class Tokens:
    captions: int  # of clips that both steps have
    other: int  # of them with another token
    where: tuple[int, int, int] | None  # row of the batch, sample and position of the first one
    drawn: tuple[int, int] | None  # the two tokens there; -1: that caption has ended
    reward: float | None  # largest difference of the rewards of equal captions; None: no caption is equal


def tokens(one: Row, other: Row) -> Tokens | None:
    """None: a step has no samples, or other numbers of them."""
    a, b = one.samples, other.samples
    if a is None or b is None or a.ids.shape[1:] != b.ids.shape[1:]:
        return None
    rows = {int(clip): row for row, clip in enumerate(b.clip_id)}
    pairs = [(row, rows[int(clip)]) for row, clip in enumerate(a.clip_id) if int(clip) in rows]
    if not pairs:
        return Tokens(0, 0, None, None, None)
    here, there = (list(part) for part in zip(*pairs, strict=True))
    mine = np.where(a.mask[here], a.ids[here], -1)
    theirs = np.where(b.mask[there], b.ids[there], -1)
    differ = np.argwhere(mine != theirs)
    equal = (mine == theirs).all(-1)
    gaps = np.abs(a.reward[here].astype(np.float64) - b.reward[there])[equal]
    where = drawn = None
    if len(differ):
        clip, sample, position = (int(i) for i in min(differ.tolist(), key=lambda at: at[2]))
        where, drawn = (here[clip], sample, position), tuple(int(x[clip, sample, position]) for x in (mine, theirs))
    finite = gaps[np.isfinite(gaps)]
    return Tokens(equal.size, int((~equal).sum()), where, drawn, float(finite.max()) if len(finite) else None)  # pyright: ignore[reportArgumentType] two tokens
