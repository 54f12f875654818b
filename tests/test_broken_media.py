"""A file that was cut off or damaged is an error that names it, never a shorter or emptier clip."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from emojax.data.audio import decode_audio
from emojax.data.container import MediaError, Streams, probe
from emojax.data.stated import recordings, stated_size
from emojax.data.video import decode_video
from support.media_files import FILMS, SOUNDS, tone, write_all, write_av


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    write_all(folder)
    return folder


@pytest.mark.parametrize("name", [s[0] for s in SOUNDS] + [f[0] for f in FILMS])
def test_a_cut_file_is_an_error_or_loses_nothing(tmp_path: Path, media: Path, name: str) -> None:
    data = (media / name).read_bytes()
    video = name in [f[0] for f in FILMS]
    whole = decode_audio(media / name), decode_video(media / name, 4, 16) if video else None
    cut, errors = tmp_path / name, 0
    points = {*np.linspace(0, len(data) - 1, 23).astype(int).tolist(), 1, 3, 11, 12, 44, 100, len(data) - 9}
    points |= {mark.start() for mark in re.finditer(b"OggS", data)}  # between pages
    points |= {mark.start() - 4 for mark in re.finditer(b"mdat|moov|free", data)}  # between boxes
    for point in sorted(points):
        cut.write_bytes(data[:point])
        for decode, expected in ((decode_audio, whole[0]), (lambda p: decode_video(p, 4, 16), whole[1])):
            if expected is None:
                continue
            try:
                got = decode(cut)
            except MediaError as e:
                errors += e.path == cut
            else:
                np.testing.assert_array_equal(got, expected, err_msg=f"cut at {point} of {len(data)}")
    assert errors > len(points) // 2


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty.wav", b""),
        ("notes.txt", b"this is not a sound\n" * 40),
        ("noise.mp4", np.random.default_rng(0).bytes(5000)),
        ("header.wav", b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80>\0\0\0}\0\0\2\0\x10\0data\0\0\0\0"),
    ],
)
def test_what_is_no_media_file_is_an_error_that_names_it(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(MediaError, match=name):
        decode_audio(path)
    with pytest.raises(MediaError, match="gone"):
        decode_audio(tmp_path / "gone.wav")
    with pytest.raises(MediaError):
        decode_video(tmp_path, 4, 16)


def test_zeros_after_a_header_are_not_walked_through() -> None:
    """As empty chunks of eight bytes each, 100 MB of them took a quarter of a minute."""

    class Looked(bytes):
        looks = 0

        def __getitem__(self, at: Any) -> Any:
            Looked.looks += 1
            return super().__getitem__(at)

    data = Looked(b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80>\0\0\0}\0\0\2\0\x10\0" + bytes(1 << 16))
    assert recordings(data) == [(0, len(data))]
    assert stated_size(data) == math.inf
    assert Looked.looks < 100


def test_a_codec_that_nobody_knows_is_named_and_the_sound_beside_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_av(path, "libx264", "aac")
    whole = decode_audio(path)
    assert whole is not None
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(MediaError, match="has video of a codec that is not known here"):
        decode_video(path, 2, 16)
    np.testing.assert_array_equal(decode_audio(path), whole)
    assert probe(path) == Streams(audio=True, video=True, seconds=pytest.approx(1.5, abs=0.1))


@pytest.mark.parametrize("name", ["s16.flac", "cbr.mp3"])
def test_a_hole_in_a_file_is_an_error(tmp_path: Path, media: Path, name: str) -> None:
    data = (media / name).read_bytes()
    half = len(data) // 2
    (tmp_path / name).write_bytes(data[:half] + bytes(600) + data[half + 600 :])
    with pytest.raises(MediaError, match=name):
        decode_audio(tmp_path / name)


def test_samples_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    sound = tone(16_000)
    sound[100] = np.nan
    soundfile.write(tmp_path / "nan.wav", sound, 16_000, "FLOAT")
    with pytest.raises(MediaError, match="not finite"):
        decode_audio(tmp_path / "nan.wav")
