"""RAVDESS (Livingstone and Russo 2018): 24 actors speak and sing two sentences."""

import re
from pathlib import Path

from emojax.data.clip import Clip
from emojax.datasets.dataset import Dataset, Found, Options
from emojax.datasets.tree import Tree

_NAME = re.compile(r"(0[123])-((0[12])-(0[1-8])-\d\d-(0[12])-\d\d-(\d\d))")
_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_SENTENCES = ("Kids are talking by the door", "Dogs are sitting by the door")
_TEST_ACTORS = 4  # of a fold
_SPEECH, _SONG = 1_440, 1_012  # performances


def _read(tree: Tree, options: Options) -> Found:
    takes: dict[str, dict[str, Path]] = {}  # files by modality: 01 both, 02 film, 03 sound
    for stem, paths in sorted(tree.stems.items()):
        match = _NAME.fullmatch(stem)
        if match and (match[3] == "01" or options.also):
            takes.setdefault(match[2], {})[match[1]] = paths[0]
    clips = []
    for take, files in takes.items():
        _, emotion, _, sentence, _, actor = take.split("-")
        both = files.get("01")
        test = options.fold is not None and (int(actor) - 1) // _TEST_ACTORS == options.fold - 1
        clips.append(
            Clip(
                take,
                both or files.get("03"),
                both or files.get("02"),
                _SENTENCES[int(sentence) - 1],
                emotion=_EMOTIONS[int(emotion) - 1],
                speaker=f"Actor_{actor}",
                split="test" if test else "train",
                language="en",
                attributes={"gender": "man" if int(actor) % 2 else "woman"},
            )
        )
    notes = ["a performance is one clip: its three files are the same take"]
    if options.fold is None:
        notes.append("no official split: all are train; --fold K of six tests on four actors")
    total = _SPEECH + (_SONG if options.also else 0)
    return Found(clips, {} if options.fold else {"train": total}, notes=notes)


DATASET = Dataset(
    name="ravdess",
    title="RAVDESS",
    task="labels",
    languages="en",
    streams="audio, video, transcript",
    licence="CC BY-NC-SA 4.0",
    where="https://zenodo.org/records/1188976",
    tree="""
Actor_{01..24}/01-01-05-01-01-01-01.mp4
Actor_{01..24}/03-01-05-01-01-01-01.wav
""",
    read=_read,
    folds=6,
    parts=("song",),
)
