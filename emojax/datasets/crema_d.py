"""CREMA-D (Cao et al. 2014): 91 actors say twelve sentences in six emotions, rated by ear, by eye and by both."""

import re
from collections.abc import Mapping

from emojax.data.clip import Clip
from emojax.datasets.dataset import Dataset, Found, Options
from emojax.datasets.tables import read_rows
from emojax.datasets.tree import Tree

_NAME = re.compile(r"(\d{4})_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX?)")
_LETTERS = {"A": "anger", "D": "disgust", "F": "fear", "H": "happy", "N": "neutral", "S": "sad"}
_SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
_VALIDATION = {1015, 1020, 1021, 1030, 1050, 1070, 1079, 1089, 1090}  # of TFDS, RandomState(0)
_TEST = {1010, 1013, 1022, 1026, 1037, 1038, 1040, 1045, 1047, 1048, 1059}
_TEST |= {1065, 1066, 1068, 1071, 1073, 1084, 1086, 1088}
_FOLDS = ((1001, 1018), (1019, 1036), (1037, 1054), (1055, 1072), (1073, 1091))  # test actors, of MAE-DFER
_BROKEN = {"1076_MTI_SAD_XX": "none of its files has sound, CREMA-D issue 13"}
_NO_FILM = ("1076_MTI_NEU_XX", "1064_TIE_SAD_XX", "1064_IEO_DIS_MD")  # another take than the sound


def _read(tree: Tree, options: Options) -> Found:
    listing = tree.file("SentenceFilenames.csv")
    names = [row["Filename"] for row in read_rows(listing, ("Filename",))] if listing else sorted(tree.stems)
    sexes = _column(tree, "VideoDemographics.csv", "ActorID", "Sex")
    perceived = options.truth == "perceived"
    voted = _column(tree, "summaryTable.csv", "FileName", "MultiModalVote") if perceived else {}
    votes = _votes(tree) if perceived else {}
    clips = []
    for name in names:
        if not (match := _NAME.fullmatch(name)):
            continue
        actor, sentence, emotion, _ = match.groups()
        sex = {"Male": "man", "Female": "woman"}.get(sexes.get(actor, ""))
        vote = voted.get(name, "")  # F:N is a tie
        clips.append(
            Clip(
                name,
                tree.media(name, (".wav",)) or tree.audio(name),
                None if name in _NO_FILM else tree.video(name),
                _SENTENCES.get(sentence),
                emotion=_LETTERS.get(vote) if perceived else emotion,
                speaker=actor,
                split=_split(int(actor), options),
                language="en",
                attributes={"gender": sex} if sex else {},
                soft_labels=votes.get(name, {}),
            )
        )
    notes = [f"labels are what {'both ear and eye perceived' if perceived else 'the actor intended'}"]
    if perceived:
        notes.append(f"ties, which have no label but shares: {sum(':' in vote for vote in voted.values()):,}")
    if options.fold is None and options.split is None:
        notes.append("no official split: all are train; --split tfds, or --fold K of five by actors")
    counts = {"train": 5_146, "validation": 738, "test": 1_558} if options.split else {"train": 7_442}
    return Found(clips, {} if options.fold else counts, _BROKEN, notes)


def _column(tree: Tree, name: str, key: str, value: str) -> Mapping[str, str]:
    path = tree.file(name)
    return {row[key]: row[value] for row in read_rows(path, (key, value))} if path else {}


def _votes(tree: Tree) -> dict[str, dict[str, float]]:
    """How many raters who heard and saw a clip called it what."""
    path = tree.file("tabulatedVotes.csv")
    rows = read_rows(path, ("", "fileName", *_LETTERS)) if path else []
    both = (row for row in rows if row[""].startswith("3"))
    return {row["fileName"]: {name: float(row[letter]) for letter, name in _LETTERS.items()} for row in both}


def _split(actor: int, options: Options) -> str:
    if options.split:
        return "validation" if actor in _VALIDATION else "test" if actor in _TEST else "train"
    first, last = _FOLDS[options.fold - 1] if options.fold else (0, 0)
    return "test" if first <= actor <= last else "train"


DATASET = Dataset(
    name="crema-d",
    title="CREMA-D",
    task="labels",
    languages="en",
    streams="audio, video, transcript",
    licence="ODbL 1.0",
    where="https://github.com/CheyneyComputerScience/CREMA-D (Git LFS)",
    tree="""
SentenceFilenames.csv
VideoDemographics.csv
processedResults/{summaryTable,tabulatedVotes}.csv
AudioWAV/1001_IEO_ANG_HI.wav
VideoFlash/1001_IEO_ANG_HI.flv
""",
    read=_read,
    folds=5,
    truths=("intended", "perceived"),
    splits=("tfds",),
)
