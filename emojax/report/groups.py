"""Scores by what is known of clips, and which emotion is taken for which."""

from collections import Counter
from collections.abc import Sequence

from emojax.evaluation.groups import Group, by_kind
from emojax.report.page import Html, element, section
from emojax.report.runs import Run
from emojax.report.scores import cell
from emojax.report.tables import crossed, table

_MOST = 12  # groups that are shown of one kind


def confusion(run: Run) -> Html:
    """Named against labelled emotion."""
    name = run.judged
    known = [(one.clip.emotion, one.said[name].named) for one in run.clips if one.clip.emotion] if name else []
    if not known or name is None:
        return Html()
    concepts = run.settings.get("reward.concepts")
    order = [str(c.get("name")) for c in concepts if isinstance(c, dict)] if isinstance(concepts, list) else []
    emotions = [*order, *sorted({x for pair in known for x in pair if x} - set(order))]
    emotions = [emotion for emotion in emotions if any(emotion in pair for pair in known)]
    counts, columns = Counter(known), [*emotions, *([None] if any(named is None for _, named in known) else [])]
    labels = [emotion for emotion in emotions if any(emotion == label for label, _ in known)]
    cells = [[counts[label, named] for named in columns] for label in labels]
    caption = f"Rows: the clip's label. Columns: the emotion that the caption of {name} names. Percent of the row."
    return section("Named and labelled emotion", crossed(labels, [c or "none" for c in columns], cells, caption))


def by_group(run: Run) -> Html:
    """Scores of the judged captions by what is known of clips."""
    found = by_kind(run.clips, run.judged) if run.judged else {}
    tables = [_table(kind, groups) for kind, groups in found.items()]
    return section("By group", element("div", *tables, at={"class": "charts"}) if tables else "")


def _table(kind: str, groups: Sequence[Group]) -> Html:
    """A row a group; of many those with the lowest reward."""
    caption = kind.capitalize()
    if len(groups) > _MOST:
        caption += f": the {_MOST} of {len(groups)} with the lowest reward"
        groups = sorted(groups, key=lambda group: -1e9 if group.reward is None else group.reward)[:_MOST]
    rows = [
        [g.name, str(g.clips), cell(g.reward, 3, g.interval), _percent(g.right), _percent(g.none_wrong)] for g in groups
    ]
    return table([kind, "clips", "reward", "emotion right", "none wrong"], rows, caption=caption)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"
