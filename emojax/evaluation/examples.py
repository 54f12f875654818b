"""The clips that a captioner described best, and those that it described worst, for eyes instead of averages."""

from collections.abc import Mapping, Sequence

from emojax.config.concepts import Attribute
from emojax.evaluation.facts import wrong
from emojax.evaluation.floors import Reward
from emojax.evaluation.report import Scorable
from emojax.rewards.facts import values_of
from emojax.rewards.lexicon import stated


def examples(
    clips: Sequence[Scorable],
    captions: Mapping[str, Mapping[str, str]],
    reward: Reward,
    about: Sequence[Attribute],
    most: int = 3,
) -> str:
    """`most` clips at either end, Markdown: the fewest wrong facts first, among equals the highest reward.

    Args:
      captions: of each stage by clip id; the last stage's are judged.
      reward, about: as of `report.evaluate`.
    """
    last = list(captions.values())[-1]
    texts = [last[clip.id] for clip in clips]
    known = [values_of(clip) for clip in clips]
    scores = reward(texts, clips)["reward"]
    faults = [wrong(stated(text, about), truth) for text, truth in zip(texts, known, strict=True)]
    order = sorted(range(len(clips)), key=lambda i: (len(faults[i]), -scores[i]))
    ends = {"Where it was right": order[:most], "Where it was most wrong": order[most:][-most:][::-1]}
    lines = []
    for title, chosen in ends.items():
        lines += [f"## {title}", ""] if chosen else []
        for i in chosen:
            told = [clips[i].emotion or "", *(f"{name}: {value}" for name, value in clips[i].attributes.items())]
            lines += [f"**{clips[i].id}** ({', '.join(filter(None, told))})".replace(" ()", ""), ""]
            lines += [f"- reference: {clips[i].captions[0]}"]
            lines += [f"- {stage}: {found[clips[i].id]}" for stage, found in captions.items()]
            lines += [f"- wrong: {', '.join(faults[i])}"] if faults[i] else []
            lines += [""]
    return "\n".join(lines)
