"""MELD (arXiv 1810.02508): lines of a television series."""

from emojax.data.clip import Clip
from emojax.datasets.dataset import Dataset, Found, Options
from emojax.datasets.tables import read_rows
from emojax.datasets.tree import Tree

_SPLITS = {"train": "train", "dev": "validation", "test": "test"}
_OFFICIAL = {"train": 9_989, "validation": 1_109, "test": 2_610}
_BROKEN = {"train_dia125_utt3": "its file is corrupt, MELD issue 39"}
_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
_NOTES = (
    "ids begin with the split: the same dialogue and utterance numbers are in several",
    "dev_dia110_utt7 was never published; test_dia38_utt4, test_dia220_utt0 and train_dia309_utt0 are cut far too long",
)


def _read(tree: Tree, options: Options) -> Found:
    clips = []
    for name, split in _SPLITS.items():
        under = rf"{name}(?!.*(?:train|dev|test))"  # of the folders that name a split the innermost counts
        for row in read_rows(tree.needed(f"{name}_sent_emo.csv"), _COLUMNS):
            stem = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
            film = tree.video(f"final_videos_test{stem}") if name == "test" and options.also else None
            film = film or tree.video(stem, under)
            told = {"transcript": row["Utterance"], "emotion": row["Emotion"], "speaker": row["Speaker"] or None}
            clips.append(Clip(f"{name}_{stem}", film, film, split=split, language="en", **told))
    return Found(clips, _OFFICIAL, _BROKEN, _NOTES)


DATASET = Dataset(
    name="meld",
    title="MELD",
    task="labels",
    languages="en",
    streams="audio, video, transcript",
    licence="GPL-3.0 on the repository; the dialogue is a broadcaster's",
    where="https://github.com/declare-lab/MELD",
    tree="""
{train,dev,test}_sent_emo.csv
train_splits/dia0_utt0.mp4
dev_splits_complete/dia0_utt0.mp4
output_repeated_splits_test/dia0_utt0.mp4
""",
    read=_read,
    parts=("final-videos",),
)
