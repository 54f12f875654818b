"""Films of clips are cut from films of scenes: those seconds, and the half in which the speaker sits."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest

from emojax.data.clips import check_manifest, read_manifest
from emojax.data.container import MediaError
from emojax.datasets.catalog import named
from emojax.datasets.cutting import cut
from emojax.datasets.dataset import Options
from emojax.datasets.importing import import_dataset
from emojax.datasets.tree import DatasetError
from support.dataset_trees import TREES

RATE = 10


def write_scene(path: Path, seconds: int) -> None:
    """On the left it grows brighter by the second, on the right darker."""
    with av.open(str(path), "w") as out:
        stream = cast(av.VideoStream, out.add_stream("mpeg4", rate=RATE, options={"g": "30"}))
        stream.width, stream.height, stream.pix_fmt = 70, 49, "yuv420p"
        for n in range(seconds * RATE):
            picture = np.empty((49, 70, 3), np.uint8)
            picture[:, :35], picture[:, 35:] = 20 + 16 * (n // RATE), 235 - 16 * (n // RATE)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = n, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def levels(path: Path) -> np.ndarray:
    with av.open(str(path)) as film:
        return np.array([frame.to_ndarray(format="gray").mean() for frame in film.decode(video=0)])


def test_a_part_shows_those_seconds_of_that_side(tmp_path: Path) -> None:
    write_scene(tmp_path / "scene.avi", 12)
    second = np.arange(63, 82) // RATE
    for side, wanted in (("left", 20 + 16 * second), ("right", 235 - 16 * second)):
        found = levels(cut(tmp_path / "scene.avi", tmp_path / f"{side}.mp4", side, 6.29, 8.11))
        np.testing.assert_allclose(found, wanted, atol=7.5)  # less than half a second's step
    with pytest.raises(MediaError, match=r"shows nothing from 20 to 21 s"):
        cut(tmp_path / "scene.avi", tmp_path / "none.mp4", "left", 20, 21)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["left.mp4", "right.mp4", "scene.avi"]


def test_a_clip_of_iemocap_shows_who_speaks(tmp_path: Path) -> None:
    root = TREES["iemocap"](tmp_path)
    write_scene(root / "Session1/dialog/avi/DivX/Ses01F_impro01.avi", 12)  # that of session 2 is none
    options = Options(cut_video=tmp_path / "cut")
    report = import_dataset(named("iemocap"), root, tmp_path / "m.jsonl", options)
    assert check_manifest(tmp_path / "m.jsonl") == []
    clips = {clip.id: clip for clip in read_manifest(tmp_path / "m.jsonl")}
    woman, man, other = (clips[f"Ses0{name}"] for name in ("1F_impro01_F000", "1F_impro01_M000", "2F_impro01_F000"))
    assert isinstance(woman.video, Path)
    assert isinstance(man.video, Path)
    assert levels(woman.video)[0] < levels(woman.video)[-1], "the left"
    assert levels(man.video)[0] > levels(man.video)[-1], "the right"
    assert (woman.start, woman.end, woman.file.suffix) == (None, None, ".wav")
    assert other.video is None
    assert any("2 could not be cut" in note for note in report.notes)
    with pytest.raises(DatasetError, match="give one"):
        import_dataset(named("iemocap"), root, tmp_path / "m.jsonl", replace(options, also=("video",)))
    with pytest.raises(DatasetError, match="--cut-video: the films of meld are cut as they are"):
        import_dataset(named("meld"), root, tmp_path / "m.jsonl", options)
