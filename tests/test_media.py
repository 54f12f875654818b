"""What is in a file is what comes out, whatever its container, rate and depth."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from emojax.data.audio import SAMPLE_RATE, decode_audio, read_audio
from emojax.data.container import MediaError, probe
from emojax.data.video import decode_video
from support.media_files import DARK, FILMS, SECONDS, SOUNDS, STEP, tone, write_all, write_av

CENTRE = 2  # of left, right, centre, LFE, back: what six channels of FLAC are


def snr(got: np.ndarray) -> float:
    """dB between the chord and what was decoded, whatever its gain and the codec's delay."""
    middle = got[SAMPLE_RATE // 4 : SAMPLE_RATE].astype(np.float64)
    t = np.arange(len(middle)) / SAMPLE_RATE
    basis = np.stack([f(2 * np.pi * hz * t) for hz in (330, 1250) for f in (np.sin, np.cos)], 1)
    weights = np.linalg.lstsq(basis, middle, rcond=None)[0]
    noise = middle - basis @ weights
    return float(10 * np.log10(np.square(basis @ weights).sum() / np.square(noise).sum()))


def codes(path: Path, frames: int, start: float = 0.0, end: float | None = None) -> list[float]:
    """Which frame each sampled picture is, by its brightness."""
    pictures = decode_video(path, frames, 16, start=start, end=end)
    assert pictures is not None
    assert pictures.shape == (frames, 16, 16, 3)
    assert pictures.dtype == np.uint8
    return [float(c) for c in (pictures.mean((1, 2, 3)) - DARK) / STEP]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    write_all(folder)
    return folder


@pytest.mark.parametrize(("name", "subtype", "rate", "channels", "least"), SOUNDS)
def test_sound_of_any_kind(media: Path, name: str, subtype: str, rate: int, channels: int, least: float) -> None:
    got = decode_audio(media / name)
    assert got is not None
    assert got.dtype == np.float32
    assert abs(len(got) - SECONDS * SAMPLE_RATE) < 0.1 * SAMPLE_RATE
    assert snr(got) > least
    if least >= 80:  # no codec: the mean over channels, or the centre, at its level and in its place
        assert abs(len(got) - SECONDS * SAMPLE_RATE) <= 1
        level = np.linspace(0.5, 1.5, 6)[CENTRE] if name == "odd.flac" else 1.0
        np.testing.assert_allclose(got[800:23_000], level * tone(SAMPLE_RATE)[800:23_000, 0], atol=2e-4)


@pytest.mark.parametrize(("name", "video", "audio", "options"), FILMS)
def test_sound_of_a_film(media: Path, name: str, video: str, audio: str, options: dict[str, str]) -> None:
    got = decode_audio(media / name)
    assert got is not None
    assert abs(len(got) - SECONDS * SAMPLE_RATE) < 0.1 * SAMPLE_RATE
    assert snr(got) > (80 if audio.startswith(("pcm", "flac")) else 15)
    assert np.sqrt(np.square(got[4000:16_000]).mean()) == pytest.approx(np.sqrt((0.3**2 + 0.2**2) / 2), rel=0.08)


@pytest.mark.parametrize("name", ["s16.wav", "s16.flac", "vorbis.ogg", "cbr.mp3", "film.mp4", "mpeg4.avi"])
def test_reading_the_first_part_is_the_first_part(media: Path, name: str) -> None:
    whole, part = decode_audio(media / name), decode_audio(media / name, 0.7)
    assert whole is not None
    assert part is not None
    assert len(part) == round(0.7 * SAMPLE_RATE)
    np.testing.assert_allclose(part, whole[: len(part)], atol=1e-6)


@pytest.mark.parametrize("name", ["s16.wav", "vorbis.ogg", "cbr.mp3", "film.mp4", "mpeg4.avi"])
def test_a_part_of_a_recording_is_heard_and_seen_as_if_it_were_a_file(media: Path, name: str) -> None:
    whole, part = decode_audio(media / name), read_audio(media / name, None, 0.4, 1.1)
    assert whole is not None
    assert part is not None
    assert part.seconds == pytest.approx(0.7)
    np.testing.assert_allclose(part.samples, whole[6_400:17_600], atol=2e-4)
    short = read_audio(media / name, 0.25, 0.4, 1.1)
    assert short is not None
    assert (len(short.samples), short.seconds) == (4_000, pytest.approx(0.7))
    with pytest.raises(MediaError, match=r"is 1\.\d s long, and its clip begins at 3 s"):
        read_audio(media / name, None, 3.0)
    if name in ("film.mp4", "mpeg4.avi"):
        shown = [int(12 * (0.5 + (k + 0.5) / 4 * 0.75)) for k in range(4)]
        np.testing.assert_allclose(codes(media / name, 4, 0.5, 1.25), shown, atol=1.6 if name.endswith("avi") else 0.5)
        with pytest.raises(MediaError, match="is over before its clip begins, at 3 s"):
            decode_video(media / name, 4, 16, start=3.0)


@pytest.mark.parametrize(("name", "video", "audio", "options"), FILMS)
@pytest.mark.parametrize("frames", [1, 4, 18])
def test_frames_are_taken_at_the_centres_of_equal_parts(
    media: Path, name: str, video: str, audio: str, options: dict[str, str], frames: int
) -> None:
    expected = [int((k + 0.5) / frames * 18) for k in range(frames)]
    slack = 1.6 if name == "mpeg4.avi" else 0.5  # FFmpeg's AVI writer leaves the second slot empty
    np.testing.assert_allclose(codes(media / name, frames), expected, atol=slack)


def test_few_frames_are_repeated_by_time(tmp_path: Path) -> None:
    write_av(tmp_path / "few.mp4", "libx264", pts=[0, 1, 9])  # shown for 1, 8 and (as FFmpeg writes it) 1..8 twelfths
    got = np.round(codes(tmp_path / "few.mp4", 10)).astype(int)
    assert (np.diff(got) >= 0).all()
    assert (got == 0).sum() <= 1
    assert (got == 1).sum() >= 4
    assert (got == 2).sum() >= 1
    write_av(tmp_path / "one.mp4", "libx264", frames=1)
    np.testing.assert_allclose(codes(tmp_path / "one.mp4", 4), 0, atol=0.5)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("closed.mp4", "libx264", {"g": "10", "bf": "2"}),
        ("open.mp4", "libx264", {"g": "10", "bf": "3", "x264-params": "open-gop=1:keyint=10:min-keyint=5:scenecut=0"}),
        ("long.webm", "libvpx", {"g": "10", "auto-alt-ref": "1", "lag-in-frames": "8"}),
        ("long9.webm", "libvpx-vp9", {"g": "10"}),
        ("bframes.avi", "mpeg4", {"g": "10", "bf": "2"}),
        ("h264.avi", "libx264", {"g": "10", "bf": "2"}),
        ("long.mkv", "libx264", {"g": "10"}),
        ("long.ts", "libx264", {"g": "10"}),
        ("long.flv", "libx264", {"g": "10"}),
    ],
)
@pytest.mark.parametrize(("total", "frames"), [(140, 4), (140, 8), (140, 40), (139, 1)])
def test_skipping_what_is_not_needed_changes_nothing(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], total: int, frames: int
) -> None:
    write_av(tmp_path / name, codec, frames=total, options=options)
    expected = np.array([int((k + 0.5) / frames * total) % 28 for k in range(frames)])
    np.testing.assert_allclose(codes(tmp_path / name, frames), expected, atol=1.6 if codec == "mpeg4" else 0.6)


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_a_phone_held_upright_films_upright(tmp_path: Path, matrix: tuple[int, ...], turns: int) -> None:
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        picture = np.zeros((64, 64, 3), np.uint8)
        picture[:32, :32], picture[:32, 32:], picture[32:, :32] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode())
    upright = decode_video(path, 1, 32)
    assert upright is not None
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (m << 16 for m in matrix)
    data = path.read_bytes()
    track = data.index(b"tkhd")
    at = data.index(identity, track)
    path.write_bytes(data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :])
    turned = decode_video(path, 1, 32)
    np.testing.assert_array_equal(turned, np.rot90(upright, turns, (1, 2)))


def test_a_stream_that_is_not_there_is_none(tmp_path: Path, media: Path) -> None:
    write_av(tmp_path / "silent.mp4", "libx264")
    assert decode_audio(tmp_path / "silent.mp4") is None
    assert decode_video(media / "s16.wav", 4, 16) is None
    write_av(tmp_path / "sound.m4a", audio="aac")
    assert decode_video(tmp_path / "sound.m4a", 4, 16) is None
    assert (probe(media / "film.mp4").audio, probe(media / "film.mp4").video) == (True, True)
    assert (probe(tmp_path / "silent.mp4").audio, probe(tmp_path / "silent.mp4").video) == (False, True)


def test_a_cover_picture_is_not_a_video(tmp_path: Path, media: Path) -> None:
    covered = tmp_path / "song.mp3"
    with av.open(str(media / "mjpeg.avi")) as source:
        jpeg = next(bytes(p) for p in source.demux(video=0) if p.size)
    body = b"\x00image/jpeg\x00\x03\x00" + jpeg
    frame = b"APIC" + struct.pack(">I", len(body)) + b"\x00\x00" + body
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    covered.write_bytes(b"ID3\x03\x00\x00" + size + frame + (media / "cbr.mp3").read_bytes())
    assert decode_video(covered, 4, 16) is None
    got = decode_audio(covered)
    assert got is not None
    assert snr(got) > 30


def test_tags_in_an_old_encoding_do_no_harm(tmp_path: Path, media: Path) -> None:
    path = tmp_path / "tagged.mkv"
    path.write_bytes((media / "film.mkv").read_bytes().replace(b"Lavf", b"L\xe4vf"))
    assert decode_video(path, 2, 16) is not None
    assert decode_audio(path) is not None


def test_the_recordings_decode_to_the_length_their_manifest_gives() -> None:
    folder = Path(__file__).resolve().parents[2] / "shared/data/secap"
    if not folder.is_dir():
        pytest.skip("the recordings are not here")
    from emojax.data.clips import read_manifest

    clips = read_manifest(folder / "manifest.jsonl")
    assert len(clips) == 320
    for clip in clips:
        assert clip.audio is not None
        got = decode_audio(clip.audio)
        assert got is not None
        assert clip.seconds == pytest.approx(len(got) / SAMPLE_RATE, abs=2e-3)
