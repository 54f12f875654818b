"""MER2025 and MER2026 (arXiv 2504.19423): MER-Caption+, whose captions a machine wrote, and OV-MERD and the human set,
which people checked; English captions of Chinese speech."""

import re
from pathlib import Path

from emojax.data.clip import Clip
from emojax.data.container import MediaError, probe
from emojax.data.isolated import call
from emojax.datasets.dataset import Dataset, Found, Options
from emojax.datasets.mer2023 import subtitles
from emojax.datasets.tables import read_rows
from emojax.datasets.tree import Tree

_LABELS = {"track1_train_disdim.csv": 7_369, "track1_train.csv": 9_395}
_MACHINE = {"track2_train_mercaptionplus.csv": 31_327, "track3_train_mercaptionplus.csv": 31_327}
_CHECKED = {"track2_train_ovmerd.csv": 332, "track3_train_ovmerd.csv": 332, "track2_train_human.csv": 1_532}
_SOUND_ALONE = "samplenew3_"  # nearly all of these have no film in them


def _read(tree: Tree, options: Options) -> Found:
    tables: dict[str, tuple[int, int]] = {}
    rows: dict[str, dict[str, dict[str, str]]] = {}  # by list and clip
    for name, official in (_LABELS | _MACHINE | _CHECKED).items():
        if path := tree.file(name):
            rows[name] = {row["name"]: row for row in read_rows(path, ("name",))}
            tables[name] = (len(rows[name]), official)
    spoken = subtitles(tree, "subtitle_chieng.csv")
    checked = {clip for name in _CHECKED for clip in rows.get(name, ())}
    clips = []
    for name in dict.fromkeys(clip for found in rows.values() for clip in found):
        cells = {"reason": "", "openset": "", "discrete": ""}
        for table in (*_LABELS, *_MACHINE, *_CHECKED):  # what people checked comes last and stays
            cells |= {key: cell for key, cell in rows.get(table, {}).get(name, {}).items() if cell}
        words = openset(cells["openset"])
        clips.append(
            Clip(
                name,
                tree.audio(name),
                _film(tree, name),
                spoken.get(name),
                (cells["reason"],),
                cells["discrete"] or None,
                split="validation" if name in checked else "train",
                language="en",
                extra={"openset": list(words)} if words else {},
            )
        )
    notes = ["what people checked is validation, and so not in train; all of it is the authors' training data"]
    if rows and not any(name.startswith("track3_train") for name in rows):
        notes.append("no captions: they are in MER2025's track3_train_*.csv; put these into the folder")
    return Found(clips, {}, notes=notes, tables=tables)


def openset(text: str) -> tuple[str, ...]:
    """The words of a list in any of its three spellings.

    >>> openset("['a', 'b']"), openset("[concern, pessimism]"), openset("shocked,care")
    (('a', 'b'), ('concern', 'pessimism'), ('shocked', 'care'))
    """
    inner = text.strip().removeprefix("[").removesuffix("]")
    return tuple(word for part in re.split(r"[,，]", inner) if (word := part.strip().strip("'\"‘’“”").strip()))


def _film(tree: Tree, name: str) -> Path | None:
    path = tree.video(name)
    if path is None or not name.startswith(_SOUND_ALONE):
        return path
    try:
        return path if call(probe, path).video else None
    except MediaError:
        return path  # decoding it will say what is wrong


DATASET = Dataset(
    name="mer2025",
    title="MER2025 and MER2026 (MER-Caption+, OV-MERD)",
    task="captions",
    languages="en (captions), zh (speech)",
    streams="audio, video, transcript",
    licence="CC BY-NC 4.0, gated",
    where="https://huggingface.co/datasets/MERChallenge/MER2025",
    tree="""
track1_train_disdim.csv, track2_train_{mercaptionplus,ovmerd}.csv, track3_train_{mercaptionplus,ovmerd}.csv
subtitle_chieng.csv
video/sample_00000000.mp4
audio/sample_00000000.wav
""",
    read=_read,
)
