"""Published datasets become manifests: every reader on a small copy of its dataset, with the faults that it really has.

What each reader must know of its own dataset is in `test_dataset_readers.py`.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from emojax.config.concepts import CONCEPTS
from emojax.data.clips import Clip, read_manifest
from emojax.datasets.catalog import DATASETS, listing, named
from emojax.datasets.dataset import Options
from emojax.datasets.importing import import_dataset
from emojax.datasets.report import Report
from emojax.datasets.tree import DatasetError, walk
from support.dataset_trees import POINTER, TREES, lay, media

Read = Callable[..., tuple[dict[str, Clip], Report]]


@pytest.mark.parametrize("name", DATASETS)
def test_what_is_imported_is_read(name: str, tmp_path: Path) -> None:
    """From the dataset's folder and from the one above it, the same; by a user's own reading, no fault."""
    root = TREES[name](tmp_path / "data")
    report = import_dataset(named(name), root, tmp_path / "a.jsonl")
    assert import_dataset(named(name), tmp_path / "data", tmp_path / "b.jsonl").written == report.written
    clips = read_manifest(tmp_path / "a.jsonl")
    assert read_manifest(tmp_path / "b.jsonl") == clips
    assert len(clips) == report.written.total() > 0
    assert {clip.source for clip in clips} == {name}
    assert {clip.split for clip in clips} <= {"train", "validation", "test", "test2", "test3"}
    assert {clip.emotion for clip in clips} <= {None, *(concept.name for concept in CONCEPTS)}
    assert not any("/" in clip.id for clip in clips)


def test_every_dataset_is_listed_with_its_licence_and_where_it_is() -> None:
    assert set(TREES) == set(DATASETS)
    text = "\n".join(listing())
    assert all(d.title in text and d.licence in text and d.where in text for d in DATASETS.values())


def test_other_counts_are_a_warning_with_both_numbers_and_strictly_an_error(tmp_path: Path) -> None:
    root, out = TREES["meld"](tmp_path), tmp_path / "m.jsonl"
    report = import_dataset(named("meld"), root, out)
    assert "warning: train: 2 listed, 9,989 officially" in report.lines()
    out.unlink()
    with pytest.raises(DatasetError, match=r"train: 2 listed, 9,989 officially; .*; 1 clips have no file"):
        import_dataset(named("meld"), root, out, strict=True)
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("meld", Options(fold=2), "--fold 2: meld has no folds"),
        ("dfew", Options(fold=6), "--fold 6: dfew has folds 1 to 5"),
        ("meld", Options(language="zh"), "--language zh: meld wants none: leave it out"),
        ("mafw", Options(language="fr"), "--language fr: mafw wants one of en, zh"),
        ("ravdess", Options(also=("dance",)), "--also dance: ravdess wants one of song"),
        ("esd", Options(split_file=Path("x")), "--split-file: esd has its own split"),
    ],
)
def test_an_option_that_a_dataset_has_no_use_for_is_refused(
    name: str, options: Options, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=message):
        import_dataset(named(name), tmp_path, tmp_path / "m.jsonl", options)


def test_a_folder_of_something_else_is_told_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nothing of it was found; wanted\n  Actor_"):
        import_dataset(named("ravdess"), tmp_path, tmp_path / "m.jsonl")
    with pytest.raises(DatasetError, match=r"no train_sent_emo.csv in it or below"):
        import_dataset(named("meld"), tmp_path, tmp_path / "m.jsonl")
    with pytest.raises(DatasetError, match="no such folder"):
        import_dataset(named("meld"), tmp_path / "gone", tmp_path / "m.jsonl")
    with pytest.raises(DatasetError, match=r"no dataset 'medl' is known, did you mean 'meld'\?"):
        named("medl")


def test_captions_from_elsewhere_are_joined_by_id(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(
        '{"id": "00001", "caption": "Calm."}\n{"id": "00002", "captions": ["Mad."]}\n{"id": "x", "caption": "y"}\n'
    )
    root = TREES["mafw"](tmp_path)
    report = import_dataset(named("mafw"), root, tmp_path / "m.jsonl", Options(captions=tmp_path / "c.jsonl"))
    clips = {clip.id: clip for clip in read_manifest(tmp_path / "m.jsonl")}
    assert clips["00001"].captions == ("Calm.",)
    assert clips["00002"].captions == ("He is angry.", "Mad.")
    assert any("of which 1 are of no clip here" in note for note in report.notes)


def test_links_are_followed_and_never_in_a_circle(tmp_path: Path) -> None:
    lay(tmp_path, media("store/a.wav", "root/b.wav"))
    (tmp_path / "root" / "media").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "up").symlink_to(tmp_path / "root")
    assert set(walk(tmp_path / "root").stems) == {"a", "b"}
    assert all(len(paths) == 1 for paths in walk(tmp_path / "root").stems.values())


def test_a_pointer_of_every_file_is_told_of(tmp_path: Path) -> None:
    root = TREES["crema-d"](tmp_path)
    for path in (*root.rglob("*.wav"), *root.rglob("*.flv")):
        path.write_bytes(POINTER)
    with pytest.raises(DatasetError, match=r"5 clips are listed and none can be used .*8 files are Git LFS pointers"):
        import_dataset(named("crema-d"), root, tmp_path / "m.jsonl")
    report = import_dataset(named("crema-d"), root, tmp_path / "m.jsonl", Options(text_only=True))
    assert report.written.total() == 4
    assert read_manifest(tmp_path / "m.jsonl")[0].transcript == "It's eleven o'clock."
