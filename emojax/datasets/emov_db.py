"""EmoV-DB (arXiv 1806.09514): four speakers read CMU ARCTIC's sentences amused, angry, disgusted, neutral, sleepy."""

import re

from emojax.data.clip import Clip
from emojax.datasets.dataset import Dataset, Found, Options
from emojax.datasets.tables import read_text
from emojax.datasets.tree import AUDIO, Tree

_FOLDER = re.compile(r"(bea|jenie|josh|sam)[_/](amused|angry|disgusted|neutral|sleepy)(?:/|$)", re.IGNORECASE)
_PROMPT = re.compile(r'\(\s*arctic_(a\d{4})\s+"(.*)"\s*\)')
_OFFICIAL = 6_893


def _read(tree: Tree, options: Options) -> Found:
    prompts = {}
    for name in ("cmuarctic.data", "txt.done.data"):
        if path := tree.file(name):
            prompts |= dict(_PROMPT.findall(read_text(path, "latin-1")))
    clips = []
    sounds = {path for paths in tree.stems.values() for path in paths if path.suffix.lower() in AUDIO}
    for path in sorted(sounds, key=lambda path: (len(path.parts), path)):
        if not (folder := _FOLDER.search(tree.place(path.parent))):
            continue
        speaker, emotion = folder[1].lower(), folder[2].lower()
        number = re.search(r"(\d+)$", path.stem)
        clips.append(
            Clip(
                f"{speaker}_{emotion}_{path.stem}",  # the number alone is not unique
                path,
                transcript=prompts.get(f"a{int(number[1]):04}") if number else None,
                emotion=emotion,
                speaker=speaker,
                split="train",
                language="en",
            )
        )
    notes = ["no official split: all are train; take one by `emojax manifest split`"]
    if not prompts:
        notes.append("no transcripts: put CMU ARCTIC's cmuarctic.data into the folder")
    return Found(clips, {"train": _OFFICIAL}, notes=notes)


DATASET = Dataset(
    name="emov-db",
    title="EmoV-DB",
    task="labels",
    languages="en",
    streams="audio; transcript with CMU ARCTIC's list",
    licence="not commercial",
    where="https://www.openslr.org/115/",
    tree="""
{bea,jenie,josh,sam}_{Amused,Angry,Disgusted,Neutral,Sleepy}/amused_1-28_0001.wav
cmuarctic.data
""",
    read=_read,
)
