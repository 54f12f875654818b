"""import, manifest, export-data: published datasets to manifests, and what is done with these."""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


def import_(
    name: tyro.conf.Positional[str | None] = None,
    *,
    root: Path | None = None,
    out: Path | None = None,
    list_: Annotated[bool, tyro.conf.arg(name="list")] = False,
    fold: int | None = None,
    language: str | None = None,
    truth: str | None = None,
    classes: str | None = None,
    split: str | None = None,
    also: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    split_file: Path | None = None,
    cut_video: Path | None = None,
    labels: Literal["mapped", "raw"] = "mapped",
    captions: Path | None = None,
    keep_uncaptioned: bool = False,
    text_only: bool = False,
    strict: bool = False,
) -> None:
    """Write the manifest of a published dataset that lies on disk, and say what was found, missing and left out.

    Args:
        name: the dataset; --list shows all.
        root: its folder, as its authors pack it, or one above.
        out: manifest to write.
        list_: print the datasets with task, languages, streams, licence, where they are had, and their own options.
        fold: of its cross-validation, from 1.
        language: of its captions, where they are in several.
        truth: which of its labels.
        classes: emotions that are kept.
        split: one that is not the authors', by its name.
        also: a part that is left out without it; may be repeated.
        split_file: a split of your own, `ID SPLIT` a line.
        cut_video: folder for films of the clips, of a dataset that has films of whole scenes; what is there stays.
        labels: mapped to the names of reward.concepts, or raw, in the dataset's words.
        captions: file with captions from elsewhere, as of `emojax manifest merge`.
        keep_uncaptioned: of a dataset of captions, keep training clips that have none.
        text_only: keep clips without media for their transcript.
        strict: end with an error where counts differ from the official ones, or clips have no file.
    """
    from emojax.datasets import catalog
    from emojax.datasets.dataset import Options
    from emojax.datasets.importing import import_dataset
    from emojax.errors import ConfigError

    if list_:
        print("\n".join(catalog.listing()))
        return
    if name is None or root is None or out is None:
        raise ConfigError("give the dataset's name, --root and --out; `emojax import --list` shows all datasets")
    options = Options(
        fold=fold,
        language=language,
        truth=truth,
        classes=classes,
        split=split,
        also=also,
        split_file=split_file,
        cut_video=cut_video,
        labels=labels,
        captions=captions,
        keep_uncaptioned=keep_uncaptioned,
        text_only=text_only,
    )
    report = import_dataset(catalog.named(name), root, out, options, strict)
    print("\n".join(report.lines()))
    print(f"{report.written.total():,} clips, {out}", file=sys.stderr)


@dataclass(frozen=True)
class Merge:
    """Join manifests, and captions from elsewhere, to one."""

    manifests: tyro.conf.Positional[tuple[Path, ...]]  # JSONL manifests, or directories that TFDS wrote
    out: Path  # manifest to write
    captions: Path | None = None  # JSONL or CSV of id and caption, joined to clips by id
    language: str | None = None  # of the captions, of those in `captions_in`
    prefix: bool = False  # put the source of each clip before its id


@dataclass(frozen=True)
class Split:
    """Deal clips to splits from a seed."""

    manifest: tyro.conf.Positional[Path]
    out: Path  # manifest to write
    validation: float = 0.1  # share of the clips
    test: float = 0.1  # share of the clips
    by: Literal["speaker", "label"] = "speaker"  # no speaker in two splits; or labels alike in all
    of: str | None = None  # the split whose clips are dealt, the others stay; all without it
    seed: int = 0


@dataclass(frozen=True)
class Check:
    """Every fault of a manifest, and what is odd about it; exit code 2 where it cannot be used."""

    manifest: tyro.conf.Positional[Path]


@dataclass(frozen=True)
class Stats:
    """Clips, hours, labels, languages, lengths of captions, duplicates, split by split."""

    manifest: tyro.conf.Positional[Path]
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False  # print JSON


def manifest(work: Annotated[Merge | Split | Check | Stats, tyro.conf.arg(name="")]) -> None:
    """Join, split, check or count manifests."""
    from emojax.data.clips import ManifestError, check_manifest, read_manifest, write_manifest
    from emojax.datasets import captions_file, merging, splitting, stats
    from emojax.storage import replacing

    match work:
        case Merge():
            clips = merging.merge(work.manifests, work.prefix)
            if work.language is not None:
                clips = merging.in_language(clips, work.language)
            if work.captions is not None:
                clips, strange = captions_file.join(clips, captions_file.read_captions(work.captions))
                print(f"{work.captions}: {strange:,} ids are of no clip", file=sys.stderr)
        case Split():
            clips = read_manifest(work.manifest)
            shares = {"train": 1 - work.validation - work.test, "validation": work.validation, "test": work.test}
            chosen = [clip for clip in clips if work.of is None or clip.split == work.of]
            dealt = {clip.id: clip for clip in splitting.deal(chosen, shares, work.seed, work.by)}
            clips = [dealt.get(clip.id, clip) for clip in clips]
        case Check():
            if faults := check_manifest(work.manifest):
                print("\n".join(map(str, faults)))
                raise ManifestError(work.manifest, faults)
            print(f"{work.manifest}: {len(read_manifest(work.manifest)):,} clips, no fault")
            return
        case Stats():
            clips = read_manifest(work.manifest)
            found = stats.statistics_of(clips)
            told = stats.lines(found, {clip.id: clip.split for clip in clips})
            print(json.dumps(found, ensure_ascii=False) if work.as_json else "\n".join(told))
            return
    with replacing(work.out) as new:
        write_manifest(new, clips)
    print(f"{len(clips):,} clips, {work.out}", file=sys.stderr)


def export_data(
    manifest: tyro.conf.Positional[Path],
    *,
    tfds: Path | None = None,
    builder: Path | None = None,
    name: str | None = None,
    version: str = "1.0.0",
    license: str = "",
    homepage: str = "",
    citation: Path | None = None,
) -> None:
    """Write a manifest's clips as a dataset of TFDS, media and all, which `data.manifest=tfds:NAME` reads.

    Args:
        manifest: JSONL manifest.
        tfds: directory of datasets: array_record is written into NAME/VERSION in it, without TensorFlow.
        builder: directory for the folder NAME instead, which `tfds build` makes the dataset from.
        name: of the dataset: small letters, digits and _; the manifest's without it.
        version: of its records; one that is there with others is refused.
        license: of the recordings.
        homepage: URL.
        citation: file with BibTeX.
    """
    from emojax.datasets import tfds_export
    from emojax.errors import ConfigError

    if (tfds is None) == (builder is None):
        raise ConfigError("give either --tfds, with the directory of datasets, or --builder")
    name = name or re.sub(r"[^a-z0-9_]", "_", manifest.stem.lower())
    about = tfds_export.About(
        name, version, license, homepage, citation.read_text(encoding="utf-8") if citation else ""
    )
    if tfds is not None:
        print(tfds_export.export(manifest, tfds, about))
    elif builder is not None:
        print(tfds_export.export_builder(manifest, builder, about))
