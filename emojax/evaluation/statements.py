"""Statement judgement (as in MVEI): does a captioner find what is true of a clip likelier than what is not?

A statement is a caption. Clips of different emotions are paired, and each is judged with the first caption of both:
its own is true, the other's false. A judge that reads the statements alone prefers the same one for both clips and is
right once, so 0.5 is what can be had without media, whatever the statements.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from emojax.evaluation.report import Scorable

Clip = TypeVar("Clip", bound=Scorable)


def paired(clips: Sequence[Clip]) -> list[tuple[Clip, Clip]]:
    """Pairs of clips of different emotions, each clip in one of them; clips without a label or a caption in none."""
    waiting: list[Clip] = []  # all of one emotion
    pairs = []
    for clip in clips:
        if clip.emotion is None or not clip.captions:
            continue
        if waiting and waiting[0].emotion != clip.emotion:
            pairs.append((waiting.pop(0), clip))
        else:
            waiting.append(clip)
    return pairs


def statements(pairs: Sequence[tuple[Clip, Clip]]) -> dict[str, tuple[str, str]]:
    """By clip id the statement that is true of it, and the one that is not."""
    true = {clip.id: clip.captions[0] for pair in pairs for clip in pair}
    ways = [way for a, b in pairs for way in ((a.id, b.id), (b.id, a.id))]
    return {own: (true[own], true[other]) for own, other in ways}


def judgement(likelihoods: Mapping[str, Sequence[float]]) -> dict[str, Any] | None:
    """`accuracy`, the share of clips whose true statement is the likelier one, `margin`, by how much (nats a token, the
    mean), and `clips`; None without any.

    Args:
      likelihoods: by clip id the log-probabilities a token of the true statement and of the false one.
    """
    margins = [true - false for true, false in likelihoods.values()]
    if not margins:
        return None
    return {
        "accuracy": sum(margin > 0 for margin in margins) / len(margins),
        "margin": sum(margins) / len(margins),
        "clips": len(margins),
    }
