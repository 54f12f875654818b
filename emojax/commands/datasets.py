"""import: published datasets to manifests."""

import sys
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
        labels=labels,
        captions=captions,
        keep_uncaptioned=keep_uncaptioned,
        text_only=text_only,
    )
    report = import_dataset(catalog.named(name), root, out, options, strict)
    print("\n".join(report.lines()))
    print(f"{report.written.total():,} clips, {out}", file=sys.stderr)
