"""MAFW (Liu et al. 2022): clips of films with an emotion and a caption in Chinese and English."""

from pathlib import Path

from emojax.data.clip import Clip
from emojax.datasets.dataset import Dataset, Found, Options
from emojax.datasets.tables import read_text
from emojax.datasets.tree import Tree

_FOLDS = ((7_333, 1_839), (7_335, 1_837), (7_339, 1_833), (7_340, 1_832), (7_341, 1_831))  # train, test


def _read(tree: Tree, options: Options) -> Found:
    fold, language = options.fold or 1, options.language or "en"
    clips = []
    for split in ("train", "test"):
        captions = _captions(tree.file(f"{split}.txt", rf"single/with_caption/set_{fold}$"))
        listing = tree.needed(f"{split}.txt", rf"single/no_caption/set_{fold}$")
        for line in read_text(listing, "gb18030").splitlines():
            if not line.strip():
                continue
            name, emotion = line.split()
            stem = Path(name).stem
            film, told = tree.video(stem), captions.get(stem, {})
            both = {"captions": told.get(language, ()), "captions_in": told, "language": language}
            clips.append(Clip(stem, film, film, emotion=emotion, split=split, **both))
    notes = ["no neutral clip has a caption", "no split for validation; take one by `emojax manifest split`"]
    if options.fold is None:
        notes.append("the first of five folds; --fold K takes another")
    return Found(clips, dict(zip(("train", "test"), _FOLDS[fold - 1], strict=True)), notes=notes)


def _captions(path: Path | None) -> dict[str, dict[str, tuple[str, ...]]]:
    """By clip and language: `clip.mp4 TAB label TAB Chinese TAB English`, in GB18030 as a rule."""
    lines = read_text(path, "gb18030").splitlines() if path else []
    rows = (line.split("\t") for line in lines)
    return {Path(row[0]).stem: {"zh": (row[2],), "en": (row[3],)} for row in rows if len(row) > 3}


DATASET = Dataset(
    name="mafw",
    title="MAFW",
    task="captions",
    languages="zh, en (captions)",
    streams="audio, video",
    licence="agreement, not commercial",
    where="https://mafw-database.github.io/MAFW/",
    tree="""
Train & Test Set/single/{no_caption,with_caption}/set_{1..5}/{train,test}.txt
data/clips/00025.mp4
""",
    read=_read,
    folds=5,
    caption_languages=("en", "zh"),
)
