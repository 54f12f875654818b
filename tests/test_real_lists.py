"""Lists as their authors published them: what a reader makes of them has the counts that are known of the dataset."""

import lzma
from collections import Counter
from pathlib import Path

import pytest

from emojax.datasets.catalog import named
from emojax.datasets.dataset import Options
from emojax.datasets.importing import read_dataset
from emojax.datasets.tree import walk

LISTS = Path(__file__).parent / "golden" / "crema_d"  # under the Open Database License: its README


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crema")
    for path in LISTS.glob("*.xz"):
        (folder / path.stem).write_bytes(lzma.decompress(path.read_bytes()))
    return folder


def test_crema_d_has_its_clips_actors_and_labels(root: Path) -> None:
    clips, report = read_dataset(named("crema-d"), walk(root), Options(text_only=True, split="tfds"))
    assert report.differences == []
    assert report.listed == {"train": 5_146, "validation": 738, "test": 1_558}
    assert len(clips) == 7_441  # less the one that has no sound anywhere
    counts = Counter(clip.emotion for clip in clips)
    assert counts == {
        "neutral": 1_087,
        "sad": 1_270,
        **dict.fromkeys(("angry", "disgusted", "fearful", "happy"), 1_271),
    }
    sexes = dict.fromkeys((clip.speaker, clip.attributes["gender"]) for clip in clips)
    assert Counter(sex for _, sex in sexes) == {"man": 48, "woman": 43}
    assert Counter(bool(clip.transcript) for clip in clips) == {True: 7_441}
    assert len({clip.transcript for clip in clips}) == 12


def test_crema_d_as_it_was_perceived_has_ties(root: Path) -> None:
    clips, report = read_dataset(named("crema-d"), walk(root), Options(text_only=True, truth="perceived"))
    assert "ties, which have no label but shares: 420" in report.notes
    intended, _ = read_dataset(named("crema-d"), walk(root), Options(text_only=True))
    same = sum(a.emotion == b.emotion for a, b in zip(clips, intended, strict=True))
    assert round(100 * same / len(clips)) == 72
