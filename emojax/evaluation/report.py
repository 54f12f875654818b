"""Captions and their clips in, the numbers out: as a dictionary, a table on the screen, JSON and Markdown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from emojax.config import ConfigError
from emojax.config.concepts import Attribute
from emojax.errors import RunError
from emojax.evaluation import asked_table
from emojax.evaluation.calibration import bins_of
from emojax.evaluation.emotion_words import emotion_accuracy
from emojax.evaluation.facts import facts, grid, grid_with_less
from emojax.evaluation.floors import Reward
from emojax.evaluation.metrics import (
    bleu_counts,
    bleu_of,
    distinct,
    language_of,
    meteor,
    rouge_l,
    tokenization,
    tokenize,
    vocabulary,
)
from emojax.storage import read_object, write_atomically, writing

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

FILES = ("report.json", "report.md", "scores.jsonl", "report.html")
Row = Mapping[str, Any]  # what `evaluate` returns

COLUMNS = {  # key of a row -> (heading, digits after the point)
    "reward": ("reward", 3),
    "bleu1": ("BLEU-1", 1),
    "bleu4": ("BLEU-4", 1),
    "rouge_l": ("ROUGE-L", 1),
    "meteor": ("METEOR", 1),
    "vocabulary": ("words", 0),
    "distinct2": ("dist-2", 3),
    "sbert": ("SBERT", 3),
    "emotion_similarity": ("emo. cos", 3),
    "emotion_accuracy": ("emo. acc", 3),
}
_PARTS = {"sbert": "sentence", "emotion_similarity": "emotion"}  # key of a row -> part of the reward
FACTS = "Percent of captions that state a fact / of those, how many are right (its value is named and no other)."


@dataclass(frozen=True)
class ByClip:
    """What a row is the mean of."""

    scores: dict[str, np.ndarray]  # f[clips] by the keys of a row
    bleu: np.ndarray  # i64[clips 10], as of `metrics.bleu_counts`


class Scorable(Protocol):
    """What evaluation reads of a clip (emojax.data.clips.Clip has it)."""

    @property
    def id(self) -> str: ...
    @property
    def captions(self) -> Sequence[str]: ...
    @property
    def emotion(self) -> str | None: ...
    @property
    def attributes(self) -> Mapping[str, str]: ...
    @property
    def language(self) -> str | None: ...


def evaluate(
    captions: Mapping[str, str], clips: Sequence[Scorable], reward: Reward, about: Sequence[Attribute]
) -> dict[str, Any]:
    """Every metric of one set of captions over the clips of a split.

    Args:
      captions: clip id -> caption; other clips' captions are ignored.
      clips: of the split; one that names no language has that of its references' script.
      reward: scores caption i against clip i (see `floors.Reward`).
      about: the facts and their words, the emotion first (`rewards.facts.known_facts`).
    Returns:
      `reward`, `sbert` and `emotion_similarity`: means over clips of the reward and of its parts `sentence` and
      `emotion`, −1 to 1; None for a part that the reward does not have. `parts`: the means of all of them.
      `bleu1` to `bleu4`, `rouge_l`, `meteor`: 0 to 100. `vocabulary`: a count. `distinct1`, `distinct2`: 0 to 1.
      `emotion_accuracy`: 0 to 1, None without labels. `facts`: see `facts.facts`.
      `clips`: their number. `tokenization`: its name. Callers may add `reward_by`, the reward in words, and `broken`,
      a number of clips that were left out.
    Raises:
      ValueError: there are no clips, or one has no caption or no reference with a word in it; all are listed.
    """
    return evaluate_clips(captions, clips, reward, about)[0]


def evaluate_clips(
    captions: Mapping[str, str], clips: Sequence[Scorable], reward: Reward, about: Sequence[Attribute]
) -> tuple[dict[str, Any], ByClip]:
    """What `evaluate` returns, and what it is made of clip by clip."""
    if not clips:
        raise ValueError("nothing to evaluate: the manifest has no clip in this split")
    _demand("no caption for", [c.id for c in clips if c.id not in captions], len(clips), "caption them first")
    languages = [c.language or language_of(" ".join(c.captions)) for c in clips]
    references = [
        [tokens for text in c.captions if (tokens := tokenize(text, language))]
        for c, language in zip(clips, languages, strict=True)
    ]
    empty = [c.id for c, refs in zip(clips, references, strict=True) if not refs]
    _demand("no reference caption with a word in it for", empty, len(clips), "add `captions` to the manifest")

    texts = [captions[c.id] for c in clips]
    tokens = [tokenize(text, language) for text, language in zip(texts, languages, strict=True)]
    scores = reward(texts, clips)
    each = ByClip(
        scores={
            "reward": np.asarray(scores["reward"]),
            "rouge_l": rouge_l(tokens, references),
            "meteor": meteor(tokens, references, languages),
            **{name: np.asarray(scores[part]) for name, part in _PARTS.items() if part in scores},
        },
        bleu=bleu_counts(tokens, references),
    )
    means = {name: float(np.mean(each.scores[name])) if name in each.scores else None for name in ("reward", *_PARTS)}
    bleu1, bleu2, bleu3, bleu4 = bleu_of(each.bleu.sum(0)).tolist()
    return {
        "reward": means["reward"],
        "bleu1": bleu1,
        "bleu2": bleu2,
        "bleu3": bleu3,
        "bleu4": bleu4,
        "rouge_l": float(np.mean(each.scores["rouge_l"])),
        "meteor": float(np.mean(each.scores["meteor"])),
        "vocabulary": vocabulary(tokens),
        "distinct1": distinct(tokens, 1),
        "distinct2": distinct(tokens, 2),
        "sbert": means["sbert"],
        "emotion_similarity": means["emotion_similarity"],
        "emotion_accuracy": emotion_accuracy(texts, [c.emotion for c in clips], about[0].values),
        "facts": facts(texts, clips, about),
        "clips": len(clips),
        "tokenization": "; ".join(sorted({f"{language}: {tokenization(language)}" for language in languages})),
    }, each


def _demand(what: str, missing: Sequence[str], among: int, remedy: str) -> None:
    if missing:
        listed = ", ".join(missing[:20]) + (f" and {len(missing) - 20} more" if len(missing) > 20 else "")
        raise ConfigError(f"{what} {len(missing)} of {among} clips ({listed}): {remedy}, or leave these clips out")


def _cells(row: Row) -> list[str]:
    return ["–" if row[key] is None else f"{row[key]:.{digits}f}" for key, (_, digits) in COLUMNS.items()]


def note(rows: Mapping[str, Row]) -> str:
    names = "; ".join(dict.fromkeys(row["tokenization"] for row in rows.values()))
    clips = ", ".join(dict.fromkeys(str(row["clips"]) for row in rows.values()))
    judges = "; ".join(dict.fromkeys(row["reward_by"] for row in rows.values() if row.get("reward_by")))
    broken = max((row.get("broken", 0) for row in rows.values()), default=0)
    return (
        f"{clips} clips"
        + (f", {broken} more are left out: their media cannot be decoded" if broken else "")
        + (f". Reward: {judges}" if judges else "")
        + ". BLEU, ROUGE-L, METEOR: 0 to 100; METEOR without synonyms. Words: distinct tokens of all captions; dist-2: "
        "share of distinct pairs of neighbours. Emotion: cosine of the coordinates, share of captions that name the "
        f"label. Tokens: {names}."
    )


def table(rows: Mapping[str, Row]) -> "Group":
    """The rows side by side for the screen: name of a set of captions -> what `evaluate` returned for it; below them,
    where anything is known of the clips, what the captions state; and what was asked for besides."""
    from rich.console import Group

    first, *others = _tables(rows)
    below = [part for lines, caption in others for part in ("", on_screen(lines, caption))]
    return Group(on_screen(*first), *below)


def _tables(rows: Mapping[str, Row]) -> list[tuple[list[list[str]], str]]:
    """Cells, headings first, and the line below each table."""
    headings = ["captions", *(heading for heading, _ in COLUMNS.values())]
    scores = [headings, *([name, *_cells(row)] for name, row in rows.items())]
    lines = grid(rows)
    return [(scores, note(rows)), *([(lines, FACTS)] if lines else []), *asked_table.tables(rows)]


def on_screen(lines: Sequence[Sequence[str]], caption: str) -> "Table":
    """Cells as a table for the screen, headings first."""
    from rich import box
    from rich.table import Table

    out = Table(caption=caption, box=box.SIMPLE_HEAD, show_edge=False, padding=0)  # 80 columns must do
    first, *headings = lines[0]
    out.add_column(first, no_wrap=True)
    for heading in headings:
        out.add_column(heading, justify="right")
    for line in lines[1:]:
        out.add_row(*line)
    return out


def markdown(rows: Mapping[str, Row]) -> str:
    """`table` in Markdown, the tokenization named below it."""
    return "\n".join(f"{ruled(lines)}\n{caption}\n" for lines, caption in _tables(rows))


def ruled(lines: Sequence[Sequence[str]]) -> str:
    """Cells as a table in Markdown, headings first."""
    rows = [lines[0], ["---", *["---:"] * (len(lines[0]) - 1)], *lines[1:]]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def write_report(out: Path, rows: Mapping[str, Row], facts: Mapping[str, Any], text: str = "") -> None:
    """Writes `report.json` (the facts, such as seed and seconds, and the rows) and `report.md` (the table and `text`).

    Raises:
      ValueError: a row and a fact have the same name, or a number is not finite.
    """
    if both := sorted(rows.keys() & facts.keys()):
        raise ValueError(f"report: {both} name both a row and a fact; rename one of each")
    report = json.dumps({**facts, **rows}, indent=2, ensure_ascii=False, allow_nan=False)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    json_file, md_file = (out / name for name in FILES[:2])
    write_atomically(json_file, report + "\n")
    write_atomically(md_file, markdown(rows) + (f"\n{text.strip()}\n" if text else ""))


def read(folder: Path) -> dict[str, Any] | None:
    """The `report.json` in a folder; None: there is none. Raises ValueError where it is no report."""
    path = folder / FILES[0]
    if not path.is_file():
        return None
    report = read_object(path)
    try:
        markdown(rows_of(report))
        grid_with_less(report.get("subsets") or {})
        for row in rows_of(report).values():
            bins_of(row)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as e:
        raise ValueError(f"{path}: no report of an evaluation ({e!r}); take it away, or evaluate again") from e
    return report


def rows_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """The rows of a report, without the facts beside them."""
    return {name: row for name, row in report.items() if isinstance(row, dict) and "bleu1" in row}


def require_free(out: Path) -> None:
    """Raises RunError where a report would replace one that lies in `out`."""
    if found := next((out / name for name in FILES if (out / name).exists()), None):
        raise RunError(f"{found} exists; replace it by --overwrite, or name another directory by --out")
