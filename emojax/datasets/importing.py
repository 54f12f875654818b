"""A dataset on disk to a manifest: what its reader lists, with what holds for every dataset. Nothing is invented: what
is not there is absent and counted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from emojax.data.clip import Clip
from emojax.data.clip_fields import visible
from emojax.data.clips import shared_speakers, write_manifest
from emojax.data.emotion_names import canonical
from emojax.datasets.captions_file import join, read_captions
from emojax.datasets.dataset import Dataset, Found, Options, check
from emojax.datasets.report import Report
from emojax.datasets.tree import DatasetError, Tree, walk
from emojax.storage import replacing


def import_dataset(
    dataset: Dataset, root: Path, out: Path, options: Options = Options(), strict: bool = False
) -> Report:
    """Reads a dataset's folder, or one above it, and writes its manifest.

    Args:
      strict: counts that differ from the official ones, and clips without files, are an error.
    Raises:
      DatasetError: no such folder, or not this dataset's; an option that it has no use for; with `strict` as above.
    """
    check(dataset, options)
    tree = walk(root)
    clips, report = read_dataset(dataset, tree, options)
    if strict and (report.differences or report.missing):
        missing = [f"{len(report.missing):,} clips have no file"] if report.missing else []
        raise DatasetError(f"{dataset.name} in {root}: {'; '.join((*report.differences, *missing))}")
    with replacing(out) as new:
        write_manifest(new, clips)
    return report


def read_dataset(dataset: Dataset, tree: Tree, options: Options = Options()) -> tuple[list[Clip], Report]:
    """The clips that can be used, and what became of the others. Raises DatasetError where there is none."""
    found = dataset.read(tree, options)
    report = Report(dataset.name, found.official, found.tables, broken=dict(found.broken), notes=list(found.notes))
    report.pointers = tree.pointers
    listed, clips, seen = found.clips, [], set()
    if options.captions:
        listed, strange = join(listed, read_captions(options.captions))
        report.notes.append(f"captions of {options.captions}, of which {strange:,} are of no clip here")
    for clip in listed:
        report.listed[_split(clip)] += 1
        if clip.id in seen:
            report.repeated.append(clip.id)
            continue
        seen.add(clip.id)
        if kept := _kept(dataset, clip, found, options, report):
            report.written[_split(kept)] += 1
            clips.append(kept)
    report.broken = {name: why for name, why in report.broken.items() if name in seen}
    _look_at_the_rest(tree, found.clips, report)
    if not clips:
        raise DatasetError(_nothing(dataset, tree, report))
    if shared := shared_speakers(clips):
        names = [f"{speaker} ({', '.join(splits)})" for (_, speaker), splits in shared.items()]
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        report.notes.append(f"{len(shared)} speakers are in more than one split: {', '.join(names[:20])}{more}")
    return clips, report


def _split(clip: Clip) -> str:
    return clip.split or "none"


def _kept(dataset: Dataset, clip: Clip, found: Found, options: Options, report: Report) -> Clip | None:
    """The clip as the manifest has it; None: it is left out, which is counted."""
    if clip.id in found.broken:
        return None
    clip = replace(clip, transcript=(clip.transcript or "").strip() or None, source=dataset.name)
    clip = replace(clip, captions=_shown(clip.captions), captions_in=_each_shown(clip.captions_in))
    if clip.audio is None and clip.video is None:
        report.missing.append(clip.id)
        if not (options.text_only and clip.transcript):
            return None
    else:
        report.found[_split(clip)] += 1
    if dataset.task == "captions" and not clip.captions and clip.split == "train" and not options.keep_uncaptioned:
        report.uncaptioned += 1
        return None
    for stream in ("audio", "video", "transcript"):
        report.without[stream] += getattr(clip, stream) is None
    return clip if options.labels == "raw" else _mapped(clip, report)


def _mapped(clip: Clip, report: Report) -> Clip:
    """With labels in the words of the concepts; of an annotator's label without a counterpart there is none."""
    emotion = clip.emotion and canonical(clip.emotion)
    extra = clip.extra
    if clip.emotion is not None and emotion is None:
        report.unmapped[clip.emotion] += 1
        extra = {**extra, "label": clip.emotion}
    labels = tuple(name for label in clip.labels if (name := canonical(label)))
    soft: dict[str, float] = {}
    for label, share in clip.soft_labels.items():
        if (name := canonical(label)) and share > 0:
            soft[name] = soft.get(name, 0.0) + share
    return replace(clip, emotion=emotion, labels=labels, soft_labels=soft, extra=extra)


def _shown(captions: Sequence[str]) -> tuple[str, ...]:
    return tuple(caption.strip() for caption in captions if visible(caption))


def _each_shown(captions: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    return {language: shown for language, texts in captions.items() if (shown := _shown(texts))}


def _look_at_the_rest(tree: Tree, clips: Sequence[Clip], report: Report) -> None:
    """Media on disk that no clip names: copies of others, and those that are no part of the dataset."""
    used = {path for clip in clips for path in (clip.audio, clip.video) if isinstance(path, Path)}
    names = {path.name for path in used}
    stems = {path.stem for path in used}
    for paths in tree.stems.values():
        for path in paths:
            if path not in used and path.name in names:
                report.doubled.append(tree.place(path))
            elif path not in used and path.stem not in stems:
                report.unlisted.append(tree.place(path))
    report.doubled.sort()
    report.unlisted.sort()


def _nothing(dataset: Dataset, tree: Tree, report: Report) -> str:
    expected = "\n".join(f"  {line}" for line in dataset.tree.strip().splitlines())
    listed, pointers = report.listed.total(), len(tree.pointers)
    why = f"{listed:,} clips are listed and none can be used ({len(report.missing):,} without a file)"
    why = why if listed else "nothing of it was found"
    lfs = f"; {pointers:,} files are Git LFS pointers: run `git lfs pull`" if pointers else ""
    return f"{dataset.name} in {tree.root}: {why}{lfs}; wanted\n{expected}"
