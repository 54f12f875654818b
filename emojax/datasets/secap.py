"""SECap (arXiv 2312.10381): its public test set of emotional Chinese speech with captions."""

from collections.abc import Mapping
from pathlib import Path

from emojax.data.clip import Clip
from emojax.datasets.dataset import Dataset, Found, Options
from emojax.datasets.tables import read_json, read_text
from emojax.datasets.tree import DatasetError, Tree

_OFFICIAL = 600


def _read(tree: Tree, options: Options) -> Found:
    path = tree.needed("fid2captions.json")
    captions = read_json(path)
    if not isinstance(captions, dict):
        raise DatasetError(f"{path}: wanted an object of captions by id")
    spoken, splits = _pairs(tree.file("text.txt")), _pairs(options.split_file)
    clips = [
        Clip(
            name,
            tree.audio(name),
            transcript=spoken.get(name),
            captions=(text,) if isinstance(text, str) else tuple(text),
            split=splits.get(name, "test") if splits else "test",
            language="zh",
        )
        for name, text in captions.items()
    ]
    notes = ["all of it is SECap's test set"] if not splits else [f"splits of {options.split_file}"]
    return Found(clips, {} if splits else {"test": _OFFICIAL}, notes=notes)


def _pairs(path: Path | None) -> Mapping[str, str]:
    """Of lines `ID text`, parted by a blank or a tab."""
    lines = read_text(path).splitlines() if path else []
    rows = (line.split(None, 1) for line in lines)
    return {row[0]: row[1].strip() for row in rows if len(row) == 2}


DATASET = Dataset(
    name="secap",
    title="SECap",
    task="captions",
    languages="zh",
    streams="audio, transcript",
    licence="none stated",
    where="https://github.com/thuhcsi/SECap",
    tree="""
dataset/fid2captions.json
dataset/text.txt
dataset/wav/tx_emotion_00201000015.wav
""",
    read=_read,
    takes=("split_file",),
)
