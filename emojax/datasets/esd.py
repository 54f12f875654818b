"""ESD (arXiv 2105.14762): ten speakers of Chinese and ten of English say 350 sentences in five emotions."""

import re

from emojax.data.clip import Clip
from emojax.datasets.dataset import Dataset, Found, Options
from emojax.datasets.tables import read_text
from emojax.datasets.tree import Tree

_NAME = re.compile(r"(\d{4})_(\d{6})")
_EMOTIONS = ("Neutral", "Angry", "Happy", "Sad", "Surprise")  # 350 numbers each
_FOLDERS = re.compile(r"/(train|evaluation|test)$")
_LINE = re.compile(r"(\d{4}_\d{6})\s+(.*\S)\s+\S+\s*")  # by tabs or blanks; the label is the last word


def _read(tree: Tree, options: Options) -> Found:
    spoken = {}
    for path in tree.matching(r"\d{4}\.txt"):
        lines = read_text(path, "gb18030").splitlines()
        spoken |= {match[1]: match[2] for line in lines if (match := _LINE.fullmatch(line.strip("\ufeff")))}
    clips = []
    for stem, paths in sorted(tree.stems.items()):
        if not (match := _NAME.fullmatch(stem)):
            continue
        speaker, number = match[1], int(match[2])
        folder = _FOLDERS.search(tree.place(paths[0].parent))
        clips.append(
            Clip(
                stem,
                paths[0],
                transcript=spoken.get(stem),
                emotion=_EMOTIONS[min((number - 1) // 350, 4)],
                speaker=speaker,
                split=_split(folder[1] if folder else "", number),
                language="zh" if int(speaker) <= 10 else "en",
            )
        )
    notes = ["every speaker is in every split, and says the same sentences"]
    return Found(clips, {"train": 30_000, "validation": 2_000, "test": 3_000}, notes=notes)


def _split(folder: str, number: int) -> str:
    """The folder, where the copy has them; else of 350 the first 20 for evaluation and the next 30 for the test."""
    if folder:
        return "validation" if folder == "evaluation" else folder
    place = (number - 1) % 350
    return "validation" if place < 20 else "test" if place < 50 else "train"


DATASET = Dataset(
    name="esd",
    title="ESD",
    task="labels",
    languages="zh, en",
    streams="audio, transcript",
    licence="on request, for research",
    where="https://github.com/HLTSingapore/Emotional-Speech-Data",
    tree="""
0001/0001.txt
0001/{Angry,Happy,Neutral,Sad,Surprise}/{train,evaluation,test}/0001_000351.wav
""",
    read=_read,
)
