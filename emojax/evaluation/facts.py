"""Facts in captions: how many captions state each, and how many of those are right."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any

from emojax.config.concepts import Attribute
from emojax.rewards.facts import Known, numbers, values_of
from emojax.rewards.lexicon import stated

Row = Mapping[str, Any]  # of `evaluate`


def facts(captions: Sequence[str], clips: Sequence[Known], about: Sequence[Attribute]) -> dict[str, Any]:
    """Shares, 0 to 1, over the clips of which a fact is known.

    Args:
      about: the facts and their words (`rewards.facts.known_facts`). A caption states one by any of its words, and is
        right if it names the clip's value and no other.
    Returns:
      For each fact that is known of any clip `stated`, of the captions; `right`, of those that state it, None if there
      is none; `constant`, what always naming the commonest value would reach; `clips`, their number. And `none_wrong`:
      the share of captions that state nothing wrong; None if nothing is known.
    Raises:
      ConfigError: a value in the manifest that a fact does not have.
    """
    truths = [values_of(clip) for clip in clips]
    numbers(about, truths)  # refuses unknown values
    named = [stated(caption, about) for caption in captions]
    out: dict[str, Any] = {}
    for fact in about:
        there = {i: value for i, truth in enumerate(truths) if (value := truth.get(fact.name)) is not None}
        if not there:
            continue
        told = [i for i in there if fact.name in named[i]]
        right = [i for i in told if named[i][fact.name] == {there[i]}]
        out[fact.name] = {
            "stated": len(told) / len(there),
            "right": len(right) / len(told) if told else None,
            "constant": Counter(there.values()).most_common(1)[0][1] / len(there),
            "clips": len(there),
        }
    sound = [not wrong(values, truth) for values, truth in zip(named, truths, strict=True)]
    return out | {"none_wrong": sum(sound) / len(sound) if out else None}


def wrong(named: Mapping[str, Set[str]], known: Mapping[str, str | None]) -> list[str]:
    """The facts that a caption states (`rewards.lexicon.stated`) otherwise than they are known
    (`rewards.facts.values_of`)."""
    return [fact for fact, values in named.items() if known.get(fact) and values != {known[fact]}]


def grid(rows: Mapping[str, Row]) -> list[list[str]]:
    """The facts of several sets of captions as a table of strings, headings first; empty if nothing is known.

    A cell is "stated / right", in percent. The last rows are what a constant answer reaches, and where it was asked
    (`probe`, beside `right`) a linear probe of what the decoder is told.
    """
    told = {name: row.get("facts") or {} for name, row in rows.items()}  # a report from before facts has none
    found = {name: row for name, row in told.items() if row.get("none_wrong") is not None}
    if not found:
        return []
    names = [name for name in next(iter(found.values())) if name != "none_wrong"]

    lines = [["facts", *names, "none wrong"]]
    lines += [[name, *(cell(row[fact]) for fact in names), _percent(row["none_wrong"])] for name, row in found.items()]
    any_row = next(iter(found.values()))
    lines.append(["always the same", *(f"100 / {_percent(any_row[fact]['constant'])}" for fact in names), "–"])
    for name, row in found.items():
        if any("probe" in row[fact] for fact in names):
            told = (f"100 / {_percent(row[fact].get('probe'))}" for fact in names)
            lines.append([f"probe of {name}", *told, "–"])
    return lines


def cell(fact: Mapping[str, Any]) -> str:
    """What of a fact is stated / of that right, in percent."""
    return f"{_percent(fact['stated'])} / {_percent(fact['right'])}"


def grid_with_less(rows: Mapping[str, Row]) -> list[list[str]]:
    """As `grid`, of captions that were made with less of the clips, and how many of them are fluent."""
    lines = grid(rows)[: 1 + len(rows)]
    fluent = ["fluent", *(f"{100 * row['fluent']:.0f}" for row in rows.values())]
    return [[*line, cell] for line, cell in zip(lines, fluent, strict=True)] if lines else []


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}"
