"""Whatever is handed over to be captioned becomes clips: files, folders, arrays, clips."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from emojax.config import ConfigError, Data
from emojax.data.clips import Clip, write_manifest
from emojax.data.container import MediaError
from emojax.data.inputs import clips_of
from emojax.data.reader import load

DATA = Data(audio_seconds=(1.0,), frames=2, frame_size=16, workers=0)


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(size=round(16_000 * seconds)).astype(np.float32) * 0.1


def test_a_file_is_a_clip_and_none_is_opened(tmp_path: Path) -> None:
    named = [tmp_path / "a.wav", "nowhere.mp4", "x" * 300]
    found = clips_of(named, ["so", None, None])
    assert [clip.id for clip in found] == [str(name) for name in named]
    assert [clip.transcript for clip in found] == ["so", None, None]
    assert found[0].audio == found[0].video == tmp_path / "a.wav"


def test_a_folder_stands_for_the_media_in_it_and_below(tmp_path: Path) -> None:
    for name in ("b.WAV", "a.mp4", "notes.txt", "deep/er/c.flac", "deep/.wav", "d.wav/inside.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [Path(clip.id).relative_to(tmp_path).as_posix() for clip in clips_of([tmp_path])]
    assert found == ["a.mp4", "b.WAV", "deep/er/c.flac"]
    with pytest.raises(FileNotFoundError, match=r"d\.wav: no media file in it"):
        clips_of([tmp_path / "d.wav"])
    with pytest.raises(ConfigError, match="a transcript is of one"):
        clips_of([tmp_path], ["so"])
    with pytest.raises(ConfigError, match="1 transcripts for 2 inputs"):
        clips_of(["a", "b"], ["so"])


def test_sound_and_frames_in_memory_are_as_their_files(tmp_path: Path) -> None:
    sound = noise(1.5)
    soundfile.write(tmp_path / "a.wav", sound, 16_000, subtype="FLOAT")
    (array,) = clips_of([sound])
    in_file, in_memory = load(Clip("a", audio=tmp_path / "a.wav"), DATA), load(array, DATA)
    np.testing.assert_array_equal(in_memory.audio, in_file.audio)
    assert in_memory.samples == in_file.samples == 16_000
    assert in_memory.seconds == in_file.seconds == 1.5
    frames = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    seen = load(Clip("a", video=frames), DATA).video
    assert seen is not None
    halves = frames[[2, 6]].reshape(2, 16, 2, 16, 2, 3).mean((2, 4))
    assert np.abs(seen - halves).max() < 2
    ready = np.zeros((2, 16, 16, 3), np.uint8)
    assert load(Clip("a", video=ready), DATA).video is ready


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (Clip("a", audio=np.zeros(9, np.int16)), r"int16\[9\]; wanted finite floats \[A\]"),
        (Clip("a", audio=np.zeros((2, 9), np.float32)), r"float32\[2, 9\]"),
        (Clip("a", audio=np.array([np.nan])), "finite"),
        (Clip("a", video=np.zeros((2, 16, 16), np.uint8)), r"wanted uint8\[S height width 3\]"),
    ],
)
def test_an_array_that_is_no_medium_is_its_clips_error(clip: Clip, message: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=message):
        load(clip, DATA)
    with pytest.raises(ValueError, match="'a' has its media in memory"):
        write_manifest(tmp_path / "clips.jsonl", [clip])


def test_strict_refuses_what_would_not_be_heard(tmp_path: Path) -> None:
    (long,) = clips_of([noise(1.5)])
    with pytest.raises(MediaError, match=r"is 1\.5 s long, of which 0\.5 s are beyond the last of data.audio_seconds"):
        load(long, Data(audio_seconds=(1.0,), strict=True))
