"""What a reader of a dataset is: what is known of it, what may be asked of it, and what it finds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from emojax.data.clip import Clip
from emojax.datasets.tree import DatasetError, Tree


@dataclass(frozen=True)
class Options:
    """What may be asked of an import. A dataset refuses those that it has no use for."""

    fold: int | None = None  # of a dataset's cross-validation, from 1
    language: str | None = None  # of captions that are there in several
    truth: str | None = None  # which of several labels
    classes: str | None = None  # emotions that are kept
    split: str | None = None  # of a split that somebody else made, its name
    also: tuple[str, ...] = ()  # parts that are left out without it
    split_file: Path | None = None  # of somebody's own split: `ID SPLIT` a line
    cut_video: Path | None = None  # folder that parts of long films are written to
    labels: Literal["mapped", "raw"] = "mapped"
    captions: Path | None = None  # from elsewhere, by id
    keep_uncaptioned: bool = False
    text_only: bool = False


@dataclass(frozen=True)
class Found:
    """What a reader finds."""

    clips: Sequence[Clip]  # as listed: emotions in the dataset's words; without media where none is there
    official: Mapping[str, int]  # clips that each split should list
    broken: Mapping[str, str] = field(default_factory=dict)  # ids of clips that are known to be of no use, and why
    notes: Sequence[str] = ()  # what was decided
    tables: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # rows of a list: here, officially


@dataclass(frozen=True)
class Dataset:
    name: str
    title: str
    task: Literal["captions", "labels"]
    languages: str
    streams: str
    licence: str
    where: str
    tree: str  # what lies in its folder
    read: Callable[[Tree, Options], Found]
    folds: int = 0  # 0: it has no cross-validation
    takes: tuple[str, ...] = ()  # options of its own
    truths: tuple[str, ...] = ()  # values of `truth`, the first one without it
    classes: tuple[str, ...] = ()  # values of `classes`
    splits: tuple[str, ...] = ()  # values of `split`
    parts: tuple[str, ...] = ()  # values of `also`
    caption_languages: tuple[str, ...] = ()  # values of `language`


def check(dataset: Dataset, options: Options) -> None:
    """Raises DatasetError for an option that the dataset has no use for, or a value that it does not know."""
    if options.fold is not None and not 1 <= options.fold <= dataset.folds:
        there = f"folds 1 to {dataset.folds}" if dataset.folds else "no folds"
        raise DatasetError(f"--fold {options.fold}: {dataset.name} has {there}")
    values = {"truth": dataset.truths, "classes": dataset.classes, "split": dataset.splits, "also": dataset.parts}
    values |= {"language": dataset.caption_languages}
    for name, known in values.items():
        given = getattr(options, name)
        for value in (given,) if isinstance(given, str) else given or ():
            if value not in known:
                wanted = f"one of {', '.join(known)}" if known else "none: leave it out"
                raise DatasetError(f"--{name} {value}: {dataset.name} wants {wanted}")
    if options.split_file is not None and "split_file" not in dataset.takes:
        raise DatasetError(f"--split-file: {dataset.name} has its own split; leave it out")
    if options.cut_video is not None and "cut_video" not in dataset.takes:
        raise DatasetError(f"--cut-video: the films of {dataset.name} are cut as they are; leave it out")
