"""MER2024 (arXiv 2404.17113): its labelled clips, which are MER2023's; its tests lie unnamed among the unlabelled."""

from emojax.data.clip import Clip
from emojax.datasets.dataset import Dataset, Found, Options
from emojax.datasets.mer2023 import number
from emojax.datasets.tables import read_rows
from emojax.datasets.tree import Tree

_OFFICIAL = 5_030


def _read(tree: Tree, options: Options) -> Found:
    spoken = _spoken(tree)
    clips = []
    for row in read_rows(tree.needed("label-disdim.csv"), ("name", "discrete")):
        name = row["name"]
        told = {"emotion": row["discrete"] or None, "valence": number(row.get("valence"))}
        files = (tree.audio(name, "video-labeled"), tree.video(name, "video-labeled"))
        clips.append(Clip(name, *files, spoken.get(name), split="train", language="zh", **told))
    notes = [
        "no labels of its tests are public: all are train",
        "taken to be the clips of MER2023, its tests among them (not verified): do not test on those",
    ]
    return Found(clips, {"train": _OFFICIAL}, notes=notes)


def _spoken(tree: Tree) -> dict[str, str]:
    """The first column is the clip's name; which one is Chinese is not told everywhere, and then it is the second."""
    path = tree.file("label-transcription.csv")
    rows = read_rows(path) if path else []
    names = list(rows[0]) if rows else []
    text = "chinese" if "chinese" in names else names[1] if len(names) > 1 else ""
    return {row[names[0]]: row[text] for row in rows if text}


DATASET = Dataset(
    name="mer2024",
    title="MER2024",
    task="labels",
    languages="zh",
    streams="audio, video, transcript",
    licence="agreement, not commercial",
    where="https://huggingface.co/datasets/MERChallenge/MER2024",
    tree="""
label-disdim.csv
label-transcription.csv
video-labeled/sample_00000000.mp4
""",
    read=_read,
)
