"""A linear probe finds what is in a prefix, and nothing that is not."""

from types import SimpleNamespace

import numpy as np

from emojax.config.concepts import Attribute, Concept
from emojax.evaluation.probe import probe

PLACES = [Concept(name, (name,)) for name in ("low", "middle", "high")]
ABOUT = (Attribute("height", tuple(PLACES)), Attribute("luck", tuple(PLACES)), Attribute("age", tuple(PLACES)))


def test_what_a_linear_map_tells_is_found_and_what_it_does_not_is_guessed() -> None:
    r = np.random.default_rng(0)
    heights, luck = r.integers(0, 3, 900), r.integers(0, 3, 900)
    x = r.normal(size=(900, 20)) * 100 + 7
    x[:, 3] += 600 * (heights == 2) - 600 * (heights == 0)
    names = [place.name for place in PLACES]
    clips = [
        SimpleNamespace(
            emotion=None, attributes={"height": names[h], "luck": names[c]} if i % 5 else {"luck": names[c]}
        )
        for i, (h, c) in enumerate(zip(heights, luck, strict=True))
    ]
    found = probe(x[:600], clips[:600], x[600:], clips[600:], ABOUT)
    assert found.keys() == {"height", "luck"}  # no clip's age is known
    assert found["height"] > 0.98
    assert 0.2 < found["luck"] < 0.47  # a third, within four deviations of 300 guesses


def test_fitting_is_at_its_minimum() -> None:
    """The weights beat every neighbour in the loss that is said to be fitted."""
    from emojax.evaluation.probe import DECAY, _fit, _with_one

    r = np.random.default_rng(1)
    x, labels = r.normal(size=(50, 4)), r.integers(0, 3, 50)
    best = _fit(x, labels, 3)

    def loss(w: np.ndarray) -> float:
        logits = _with_one(x) @ w
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        return -np.log(p[np.arange(50), labels]).mean() + DECAY / 2 * np.square(w).sum()

    assert all(loss(best) < loss(best + r.normal(size=best.shape) * 0.05) for _ in range(20))
