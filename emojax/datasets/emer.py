"""EMER (arXiv 2306.15401): captions of 332 clips of MER2023's training set (v2), and of 100 others (v1)."""

from emojax.data.clip import Clip
from emojax.datasets.dataset import Dataset, Found, Options
from emojax.datasets.tables import read_rows
from emojax.datasets.tree import Tree

_OFFICIAL, _BOTH = 332, 393  # clips; with those of v1, of which 39 are in v2
_FIRST = {"en": "gt-eng.csv", "zh": "gt-chi.csv"}


def _read(tree: Tree, options: Options) -> Found:
    language = options.language or "en"
    captions: dict[str, dict[str, tuple[str, ...]]] = {}  # by clip and language
    for row in read_rows(tree.needed("final-EMER-reason.csv"), ("chinese", "english")):
        captions[row.get("name") or row.get("names", "")] = {"en": (row["english"],), "zh": (row["chinese"],)}
    spoken: dict[str, str] = {}
    for code, name in _FIRST.items():
        path = tree.file(name)
        for row in read_rows(path, ("names", "subtitles", "reasons")) if path else ():
            if code == "zh":
                spoken[row["names"]] = row["subtitles"]
            if options.also:
                told = captions.setdefault(row["names"], {})
                told[code] = (*told.get(code, ()), row["reasons"])
    clips = [
        Clip(
            name,
            tree.audio(name),
            tree.video(name),
            spoken.get(name),
            told.get(language, ()),
            split="test",
            language=language,
            captions_in=told,
        )
        for name, told in captions.items()
    ]
    notes = ["every clip is in MER2023's training set, and OV-MERD is EMER renamed: a test of what learnt from neither"]
    return Found(clips, {"test": _BOTH if options.also else _OFFICIAL}, notes=notes)


DATASET = Dataset(
    name="emer",
    title="EMER",
    task="captions",
    languages="en, zh (captions), zh (speech)",
    streams="audio, video of MER2023",
    licence="none stated; the media are MER2023's",
    where="https://github.com/zeroQiaoba/AffectGPT",
    tree="""
EMER/dataset-v2/final-EMER-reason.csv
EMER/dataset-v1/gt-{eng,chi}.csv
mer2023train/train/sample_00000000.avi
""",
    read=_read,
    parts=("v1",),
    caption_languages=("en", "zh"),
)
