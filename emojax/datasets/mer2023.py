"""MER2023 (arXiv 2304.08981): Chinese films and series, labelled; its tests are other films, noise, unlabelled ones."""

from emojax.data.clip import Clip
from emojax.datasets.dataset import Dataset, Found, Options
from emojax.datasets.tables import read_rows
from emojax.datasets.tree import DatasetError, Tree

OFFICIAL = {"train": 3_373, "test": 411, "test2": 412, "test3": 834}
_LISTS = {"train": "train", "test1": "test", "test2": "test2", "test3": "test3"}


def _read(tree: Tree, options: Options) -> Found:
    if not tree.matching(r".*-label\.csv") and (pickled := tree.matching(r"label-6way\.npz")):
        raise DatasetError(f"{pickled[0]} is a pickle, which is not read; give the folder with train-label.csv")
    spoken = subtitles(tree, "transcription-engchi-polish.csv")
    clips = []
    for name, split in _LISTS.items():
        if name in ("test2", "test3") and name not in options.also:
            continue
        for row in read_rows(tree.needed(f"{name}-label.csv"), ("name", "discrete")):
            stem = row["name"]
            told = {"emotion": row["discrete"] or None, "valence": number(row.get("valence"))}
            clips.append(
                Clip(stem, tree.audio(stem), tree.video(stem), spoken.get(stem), split=split, language="zh", **told)
            )
    wanted = {split: n for split, n in OFFICIAL.items() if split in {clip.split for clip in clips}}
    notes = ["test is test1; test2 (noise) and test3 (semi) by --also, and never in train"]
    return Found(clips, wanted, notes=notes)


def subtitles(tree: Tree, name: str) -> dict[str, str]:
    """What is said, in Chinese, by clip; the English is a translation."""
    path = tree.file(name)
    return {row["name"]: row["chinese"] for row in read_rows(path, ("name", "chinese"))} if path else {}


def number(text: str | None) -> float | None:
    """Of a cell; None where it holds none, or the -10 that stands for none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return None if value == -10 else value


DATASET = Dataset(
    name="mer2023",
    title="MER2023",
    task="labels",
    languages="zh",
    streams="audio, video; transcript with MERBench's list",
    licence="agreement, not commercial",
    where="http://merchallenge.cn",
    tree="""
mer2023train/{train-label.csv,train/sample_00000000.avi,test3/}
test1/, test2/
test-labels/test{1,2,3}-label.csv
""",
    read=_read,
    parts=("test2", "test3"),
)
