"""The metrics that were asked for as tables of strings, headings first, with the line below each."""

from collections.abc import Callable, Mapping
from typing import Any

Row = Mapping[str, Any]  # of `evaluate`, with what was asked for
_SCORES: dict[str, tuple[str, Callable[[Any], str]]] = {  # key of a row -> (heading, how it is written)
    "cider": ("CIDEr-D", lambda x: f"{x:.3f}"),
    "bertscore": ("BERTScore", lambda x: f"{x['f1']:.3f}"),
    "ew": ("EW (floor)", lambda x: f"{x['score']:.1f} ({x['floor']:.1f})"),
    "cues": ("cues: prec. / rec.", lambda x: f"{x['precision']:.3f} / {x['recall']:.3f}"),
    "calibration": ("ECE", lambda x: f"{x['ece']:.3f}"),
    "judgement": ("judged", lambda x: f"{x['accuracy']:.3f}"),
}
_ABOUT = {
    "cider": "CIDEr-D: 0 to 10",
    "bertscore": "BERTScore: F1 by the reward's encoder",
    "ew": "EW: emotion wheels, 0 to 100, and what one list for all clips reaches",
    "cues": "cues: clauses, each by its most similar one",
    "calibration": "ECE: expected calibration error of naming the label",
    "judgement": "judged: share of clips whose true statement is likelier than a false one; 0.5 without media",
}
_SLICES = (
    "Right emotion / nothing wrong, in percent, by what the streams' own captions tell: the same, or the label follows "
    "the voice, the face, or neither."
)
_NAMES = {"agree": "agree", "audio": "as the voice", "video": "as the face", "neither": "as neither"}


def tables(rows: Mapping[str, Row]) -> list[tuple[list[list[str]], str]]:
    """None where nothing was asked for."""
    keys = [key for key in _SCORES if any(row.get(key) is not None for row in rows.values())]
    found = []
    if keys:
        lines = [["captions", *(_SCORES[key][0] for key in keys)]]
        for name, row in rows.items():
            lines.append([name, *("–" if row.get(key) is None else _SCORES[key][1](row[key]) for key in keys)])
        found.append((lines, "; ".join(_ABOUT[key] for key in keys) + "."))
    sliced = {name: row["slices"] for name, row in rows.items() if row.get("slices")}
    if sliced:
        any_row = next(iter(sliced.values()))
        lines = [["streams", *(f"{_NAMES[one]} ({any_row[one]['clips']})" for one in any_row)]]
        for name, row in sliced.items():
            lines.append([name, *(_share(row[one]) for one in any_row)])
        found.append((lines, _SLICES))
    return found


def _share(one: Mapping[str, Any]) -> str:
    return f"{100 * one['emotion_accuracy']:.0f} / {100 * one['none_wrong']:.0f}"
