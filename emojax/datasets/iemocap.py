"""IEMOCAP (Busso et al. 2008): dyadic scenes of ten actors, labelled by three annotators or more."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from emojax.data.clip import Clip
from emojax.data.container import MediaError
from emojax.datasets.cutting import cut
from emojax.datasets.dataset import Dataset, Found, Options
from emojax.datasets.tables import read_text
from emojax.datasets.tree import DatasetError, Tree

_WAVS = (1_819, 1_811, 2_136, 2_103, 2_170)  # of each session
_NUMBER = r"(-?[\d.]+)"
_LABEL = re.compile(rf"\[{_NUMBER} - {_NUMBER}\]\s+(Ses\w+)\s+(\w+)\s+\[{_NUMBER}, {_NUMBER}, {_NUMBER}\]")
_RATER = re.compile(r"C-E\d+:\s*(.*?)\s*\(")  # not C-F1 and C-M1, the actors of themselves
_SPOKEN = re.compile(r"(Ses\w+) \[[\d.]+-[\d.]+\]: (.*)")
_CLASSES = {"4": "neu hap exc sad ang", "6": "neu hap exc sad ang fru"}


def _read(tree: Tree, options: Options) -> Found:
    dialogues = [p for p in tree.matching(r"Ses0[1-5][FM]_\w+\.txt") if tree.lies(p, r"EmoEvaluation$")]
    kept = set(_CLASSES.get(options.classes or "all", "").split())
    if options.also and options.cut_video:
        raise DatasetError("--also video names the dialogues' films, --cut-video writes films of the clips; give one")
    clips = []
    for path in dialogues:
        spoken = _spoken(tree, path.name)
        film = tree.video(path.stem) if options.also or options.cut_video else None
        for line in read_text(path, "latin-1").splitlines():
            if found := _LABEL.match(line):
                start, end, name, emotion, *scales = found.groups()
                session, letter = name[:5], name.rpartition("_")[2][0]  # of who speaks, not of the dialogue
                valence, arousal, dominance = map(float, scales)
                first, last = (float(start), float(end)) if film else (None, None)
                test = options.fold == int(name[4])
                clips.append(
                    Clip(
                        name,
                        film or tree.audio(name),
                        film,
                        spoken.get(name),
                        emotion=emotion,
                        speaker=session + letter,
                        split="test" if test else "train",
                        language="en",
                        valence=valence,
                        arousal=arousal,
                        dominance=dominance,
                        start=first,
                        end=last,
                    )
                )
            elif clips and (found := _RATER.match(line)):
                labels = [word.strip().removesuffix(" state") for word in found[1].split(";") if word.strip()]
                clips[-1] = replace(clips[-1], labels=(*clips[-1].labels, *labels))
    if kept:
        clips = [clip for clip in clips if clip.emotion in kept]
    notes = ["exc is happy, as hap"]
    if options.fold is None:
        notes.append("no official split: all are train; --fold K makes session K the test")
    if options.also:
        notes.append("clips are parts of the dialogues' films, in which both actors are seen and heard")
    if options.cut_video:
        clips, wrong = _cut(tree, clips, options.cut_video)
        notes.append(f"films of the clips, who speaks alone in them, are in {options.cut_video}")
        notes += [f"{len(wrong):,} could not be cut, the first: {wrong[0]}"] if wrong else []
    return Found(clips, {} if kept else _official(options.fold), notes=notes)


def _cut(tree: Tree, clips: Sequence[Clip], folder: Path) -> tuple[list[Clip], list[MediaError]]:
    """The clips with films of their own: the half of the dialogue's film in which the speaker sits."""
    folder.mkdir(parents=True, exist_ok=True)
    out, wrong = [], []
    for clip in clips:
        if isinstance(film := clip.video, Path) and clip.start is not None and clip.end is not None:
            span = clip.start, clip.end
            side = "left" if clip.id[5] == clip.id.rpartition("_")[2][0] else "right"  # as MERTools has it
            clip = replace(clip, audio=tree.audio(clip.id), video=None, start=None, end=None)
            try:
                clip = replace(clip, video=cut(film, folder / f"{clip.id}.mp4", side, *span))
            except MediaError as e:
                wrong.append(e)
        out.append(clip)
    return out, wrong


def _spoken(tree: Tree, name: str) -> dict[str, str]:
    """Transcripts of a dialogue's utterances, of which some have no label; without marks such as [LAUGHTER]."""
    path = tree.file(name, "transcriptions$")
    lines = read_text(path, "latin-1").splitlines() if path else []
    found = (match for line in lines if (match := _SPOKEN.match(line)))
    return {match[1]: " ".join(re.sub(r"\[[^\]]*\]", " ", match[2]).split()) for match in found}


def _official(fold: int | None) -> dict[str, int]:
    test = {"test": _WAVS[fold - 1]} if fold else {}
    return {"train": sum(_WAVS) - sum(test.values()), **test}


DATASET = Dataset(
    name="iemocap",
    title="IEMOCAP",
    task="labels",
    languages="en",
    streams="audio, transcript; video of whole dialogues (--also video), or cut (--cut-video)",
    licence="on request, for research",
    where="https://sail.usc.edu/iemocap/",
    tree="""
Session{1..5}/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav
Session{1..5}/dialog/EmoEvaluation/Ses01F_impro01.txt
Session{1..5}/dialog/transcriptions/Ses01F_impro01.txt
Session{1..5}/dialog/avi/DivX/Ses01F_impro01.avi
""",
    read=_read,
    folds=5,
    classes=("all", "4", "6"),
    parts=("video",),
    takes=("cut_video",),
)
