"""DFEW (Jiang et al. 2020): faces of films, labelled by ten annotators; its clips with a single label."""

from pathlib import Path

from emojax.data.clip import Clip
from emojax.datasets.dataset import Dataset, Found, Options
from emojax.datasets.tables import read_rows
from emojax.datasets.tree import VIDEO, DatasetError, Tree

_EMOTIONS = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
_FOLDS = ((9_356, 2_341), (9_356, 2_341), (9_357, 2_340), (9_358, 2_339), (9_361, 2_336))  # train, test


def _read(tree: Tree, options: Options) -> Found:
    fold = options.fold or 1
    films = {int(stem): path for stem in tree.stems if stem.isdecimal() and (path := tree.media(stem, VIDEO))}
    clips = []
    for split in ("train", "test"):
        path = tree.needed(f"set_{fold}.csv", rf"{split}\(single.labeled\)$")
        for row in read_rows(path, ("video_name", "label")):
            number, film = int(row["video_name"]), films.get(int(row["video_name"]))
            clips.append(Clip(f"{number:05}", film, film, emotion=_emotion(path, row["label"]), split=split))
    notes = ["only films are read: its folders of pictures have no sound"]
    if options.fold is None:
        notes.append("the first of five folds; --fold K takes another")
    return Found(clips, dict(zip(("train", "test"), _FOLDS[fold - 1], strict=True)), notes=notes)


def _emotion(path: Path, label: str) -> str:
    if label not in ["1", "2", "3", "4", "5", "6", "7"]:
        raise DatasetError(f"{path}: label {label!r}, wanted 1 to 7; is it the authors' own list?")
    return _EMOTIONS[int(label) - 1]


DATASET = Dataset(
    name="dfew",
    title="DFEW",
    task="labels",
    languages="en, zh and others, not told",
    streams="audio, video",
    licence="agreement, for research",
    where="https://dfew-dataset.github.io/",
    tree="""
EmoLabel_DataSplit/{train,test}(single-labeled)/set_{1..5}.csv
Clip/original/00001.mp4
""",
    read=_read,
    folds=5,
)
