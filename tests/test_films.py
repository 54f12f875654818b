"""Frames are chosen by the time at which a player shows them, wherever the clock begins, and shown as it shows them."""

import itertools
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.stream import Disposition

from emojax.data import video
from emojax.data.audio import decode_audio
from emojax.data.container import MediaError, probe
from emojax.data.video import decode_video
from support.media_files import write_av
from support.recordings import shown, write_matrix

FRAMES = 21
EVENLY = [2, 6, 10, 14, 18]  # of five that are wanted
REORDERED = {"g": "5", "bf": "2"}


@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [
        ("plain.ts", "libx264", {}),
        ("wraps.ts", "libx264", {"output_ts_offset": "95442.7"}),  # 33 bits of 90 kHz are 95,443.7 s
        ("late.ts", "libx264", {"output_ts_offset": "50000"}),
        ("early.mkv", "libx264", {"output_ts_offset": "-0.8", "avoid_negative_ts": "disabled"}),
        ("late.mkv", "libx264", {"output_ts_offset": "3.3"}),
        ("late.flv", "libx264", {"output_ts_offset": "7"}),
        ("leaps.flv", "libx264", {"output_ts_offset": "-0.5", "avoid_negative_ts": "disabled"}),  # by 2^31 ms, after 0
        ("late.mp4", "libx264", {"output_ts_offset": "3.3"}),
        ("late.avi", "mpeg4", {"output_ts_offset": "3.3"}),
    ],
)
def test_wherever_the_clock_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, codec: str, container: dict[str, str]
) -> None:
    path = tmp_path / name
    write_av(path, codec, "aac", frames=FRAMES, options=REORDERED, container=container)
    for held in (video._HELD, 0):  # too long to be held, it is read twice
        monkeypatch.setattr(video, "_HELD", held)
        np.testing.assert_allclose(shown(path, 5), EVENLY, atol=1 if name.endswith("avi") else 0)


def test_sound_that_begins_two_minutes_after_the_pictures_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "late.flv"
    with av.open(str(path), "w") as out:
        film = cast(av.VideoStream, out.add_stream("flv1", rate=12))
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        sound = cast(av.AudioStream, out.add_stream("pcm_s16le", rate=44_100, layout="mono"))
        for n in range(40):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * n, np.uint8), "rgb24")
            picture.pts, picture.time_base = 36 * n, Fraction(1, 12)
            out.mux(film.encode(picture))
        samples = av.AudioFrame.from_ndarray(np.full((1, 22_050), 9999, np.int16), "s16", "mono")
        samples.rate, samples.pts, samples.time_base = 44_100, 44_100 * 110, Fraction(1, 44_100)
        for stream, frame in ((sound, samples), (sound, None), (film, None)):
            out.mux(stream.encode(frame))
    heard = decode_audio(path)
    assert heard is not None
    assert len(heard) == 8_000
    np.testing.assert_allclose(heard[500:-500], 9999 / 2**15, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.ts", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.avi", "mpeg4")]
)
def test_films_joined_byte_by_byte_are_seen_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, codec: str
) -> None:
    write_av(tmp_path / name, codec, frames=FRAMES)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes() * 2)
    for held in (video._HELD, 0):
        monkeypatch.setattr(video, "_HELD", held)
        np.testing.assert_allclose(shown(tmp_path / name, 4), [5, 15, 5, 15], atol=1)


@pytest.mark.parametrize("name", ["a.mp4", "a.flv"])
def test_joined_films_of_which_players_show_the_first_are_an_error(tmp_path: Path, name: str) -> None:
    write_av(tmp_path / name, "libx264", "aac")
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes() * 2)
    for decode in (decode_audio, lambda path: decode_video(path, 4, 16), probe):
        with pytest.raises(MediaError, match="several films joined"):
            decode(tmp_path / name)


@pytest.mark.parametrize("container", [{}, {"movflags": "faststart"}])
@pytest.mark.parametrize(
    "tail", [b"TAG" + bytes(125), b"junkjunk" * 20, b"\xff" * 7, bytes(64), b"APETAGEX" + bytes(200)]
)
def test_what_follows_the_last_box_is_no_loss(tmp_path: Path, container: dict[str, str], tail: bytes) -> None:
    path = tmp_path / "a.mp4"
    write_av(path, "libx264", "aac", frames=FRAMES, container=container)
    path.write_bytes(path.read_bytes() + tail)
    assert shown(path, 5) == EVENLY


def test_a_riff_size_that_counts_its_own_header(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    write_av(path, "mjpeg", "pcm_s16le", frames=FRAMES)
    data = path.read_bytes()
    path.write_bytes(data[:4] + (int.from_bytes(data[4:8], "little") + 8).to_bytes(4, "little") + data[8:])
    np.testing.assert_allclose(shown(path, 5), EVENLY, atol=1)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(MediaError, match="cut off"):
        decode_video(path, 5, 16)


def test_the_whole_display_matrix_is_applied(tmp_path: Path) -> None:
    """As FFmpeg's autorotation does it: what each matrix makes of the corners."""
    path = tmp_path / "phone.mp4"
    corners = np.zeros((64, 64, 3), np.uint8)
    corners[:32, :32], corners[:32, 32:], corners[32:, :32] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    with av.open(str(path), "w") as out:
        stream = cast(av.VideoStream, out.add_stream("libx264", rate=12))
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(corners, "rgb24")))
        out.mux(stream.encode())
    plain = path.read_bytes()
    for matrix, filters in {
        (1, 0, 0, 1): [],
        (-1, 0, 0, 1): ["hflip"],
        (1, 0, 0, -1): ["vflip"],
        (-1, 0, 0, -1): ["hflip", "vflip"],
        (0, 1, -1, 0): ["transpose=clock"],
        (0, -1, 1, 0): ["transpose=cclock"],
        (0, 1, 1, 0): ["transpose=cclock_flip"],
        (0, -1, -1, 0): ["transpose=clock_flip"],
    }.items():
        path.write_bytes(plain)
        upright = decode_video(path, 1, 32)
        write_matrix(path, matrix)
        for filter in ("area", "bilinear"):
            got = decode_video(path, 1, 32, None, filter)
            assert got is not None
            assert upright is not None
            expected = filtered(upright[0], filters)
            assert np.abs(got[0].astype(int) - expected).mean() < 4, (matrix, filter)


def filtered(picture: np.ndarray, filters: list[str]) -> np.ndarray:
    graph = av.filter.Graph()
    height, width = picture.shape[:2]
    nodes = [graph.add_buffer(width=width, height=height, format="rgb24", time_base=1)]
    nodes += [graph.add(*name.split("=")) for name in filters] + [graph.add("buffersink")]
    for a, b in itertools.pairwise(nodes):
        a.link_to(b)
    graph.configure()
    graph.push(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24"))
    return cast(av.VideoFrame, graph.pull()).to_ndarray(format="rgb24")


@pytest.mark.parametrize("marked", [False, True])
def test_a_preview_before_the_film_is_not_the_film(tmp_path: Path, marked: bool) -> None:
    write_av(tmp_path / "film.mp4", "libx264", frames=FRAMES)
    path = tmp_path / "previewed.mp4"
    with av.open(str(tmp_path / "film.mp4")) as film, av.open(str(path), "w") as out:
        still = cast(av.VideoStream, out.add_stream("mjpeg", rate=12))
        still.width, still.height, still.pix_fmt = 320, 240, "yuvj420p"
        if marked:
            still.disposition = Disposition.attached_pic
        copy = out.add_stream_from_template(film.streams.video[0])
        out.mux(still.encode(av.VideoFrame.from_ndarray(np.full((240, 320, 3), 250, np.uint8), "rgb24")))
        out.mux(still.encode())
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    assert shown(path, 5) == EVENLY
