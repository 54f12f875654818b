"""Sound that players read whole is read whole, and mixed as they mix it."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from emojax.data.audio import SAMPLE_RATE, decode_audio, read_audio
from emojax.data.container import MediaError, probe
from support.recordings import ALL, SECONDS, heard, stepped, without_end_flag, write_sound

ID3V1 = b"TAG" + b"x" * 125
APE = b"APETAGEX" + struct.pack("<II", 2000, 32) + bytes(16)
ID3V2 = b"ID3\4\0\0\0\0\0\x0a" + bytes(10)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_sound(folder / "xing.mp3", "libmp3lame")
    write_sound(folder / "piped.mp3", "libmp3lame", write_xing="0")
    write_sound(folder / "mp3.wav", "libmp3lame")
    write_sound(folder / "a.aac", "aac")
    write_sound(folder / "a.m4a", "aac")
    write_sound(folder / "a.mka", "aac")
    write_sound(folder / "a.webm", "libopus", 48_000)
    write_sound(folder / "a.opus", "libopus", 48_000)
    write_sound(folder / "a.flac", "flac")
    soundfile.write(folder / "a.ogg", stepped(44_100), 44_100)
    soundfile.write(folder / "a.wav", stepped(44_100), 44_100)
    return folder


@pytest.mark.parametrize("name", ["piped.mp3", "mp3.wav", "a.aac"])
def test_a_length_that_is_a_guess_cuts_nothing(made: Path, name: str) -> None:
    sound = read_audio(made / name)
    assert sound is not None
    assert heard(sound.samples) == ALL
    assert sound.seconds == pytest.approx(len(sound.samples) / SAMPLE_RATE, abs=1e-3)
    assert probe(made / name).seconds == pytest.approx(sound.seconds, abs=1e-3)
    part = read_audio(made / name, 0.5)
    assert part is not None
    assert (heard(part.samples), part.seconds) == (ALL[:2], pytest.approx(sound.seconds, abs=1e-3))


def test_raw_aac_whose_bits_are_spread_unevenly_has_its_length(tmp_path: Path) -> None:
    loud = np.random.default_rng(0).normal(0, 0.2, (1, 44_100 * 3)).astype(np.float32)
    loud[:, 44_100:] = 0  # two thirds are silence, which costs no bits
    path = write_sound(tmp_path / "a.aac", "aac", channels=loud)
    with av.open(str(path)) as container:
        assert container.duration is not None
        assert abs(container.duration / 1e6 - 3) > 0.5, "FFmpeg's guess is far off"
    assert probe(path).seconds == pytest.approx(3, abs=0.05)


@pytest.mark.parametrize(
    "name", ["xing.mp3", "piped.mp3", "a.aac", "a.mka", "a.webm", "a.opus", "a.ogg", "a.flac", "a.wav"]
)
def test_recordings_joined_byte_by_byte_are_heard_to_the_end(tmp_path: Path, made: Path, name: str) -> None:
    joined = tmp_path / name
    joined.write_bytes((made / name).read_bytes() * 2)
    assert heard(decode_audio(joined)) == ALL + ALL
    assert heard(decode_audio(joined, SECONDS + 0.5)) == ALL + ALL[:2]
    assert (probe(joined).seconds or 99) > 2 * SECONDS - 0.01, "not the first one's length"


def test_the_second_of_two_joined_recordings_may_not_be_cut_off_either(tmp_path: Path, made: Path) -> None:
    data = (made / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(data + data[:-5000])
    with pytest.raises(MediaError, match="cut off"):
        decode_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["xing.mp3", "piped.mp3", "a.aac", "a.m4a", "a.webm", "a.ogg", "a.flac", "a.wav"])
def test_what_follows_the_end_is_no_loss(tmp_path: Path, made: Path, name: str) -> None:
    whole = decode_audio(made / name)
    for tail in (ID3V1, APE, APE + ID3V1, ID3V2, b"junk" * 100, bytes(1000), b"\xff" * 7):
        (tmp_path / name).write_bytes((made / name).read_bytes() + tail)
        assert heard(decode_audio(tmp_path / name)) == heard(whole) == ALL


@pytest.mark.parametrize("total", [0, 2**36 - 1])
def test_flac_from_a_pipe(tmp_path: Path, made: Path, total: int) -> None:
    data = bytearray((made / "a.flac").read_bytes())
    at = 8 + 13  # of STREAMINFO: four bits, and four bytes
    data[at], data[at + 1 : at + 5] = data[at] & 0xF0 | total >> 32, (total & 0xFFFFFFFF).to_bytes(4, "big")
    (tmp_path / "a.flac").write_bytes(data)
    assert heard(decode_audio(tmp_path / "a.flac")) == ALL
    assert probe(tmp_path / "a.flac").seconds == pytest.approx(SECONDS)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFF9B, 0xFFFFFFFF])
def test_wav_from_a_pipe(tmp_path: Path, made: Path, size: int) -> None:
    data = (made / "a.wav").read_bytes()
    at, stated = data.index(b"data") + 4, size.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data[:4] + stated + data[8:at] + stated + data[at + 4 :])
    np.testing.assert_array_equal(decode_audio(tmp_path / "a.wav"), decode_audio(made / "a.wav"))


@pytest.mark.parametrize("name", ["a.opus", "a.ogg"])
def test_ogg_whose_last_page_lacks_its_end_flag(tmp_path: Path, made: Path, name: str) -> None:
    (tmp_path / name).write_bytes(without_end_flag((made / name).read_bytes()))
    assert heard(decode_audio(tmp_path / name)) == ALL


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.m4a", "aac"), ("a.flac", "flac"), ("a.wav", "pcm_s16le"), ("a.ac3", "ac3"), ("a.ogg", "libopus")],
)
def test_of_5_1_the_centre_is_heard_at_its_own_level(tmp_path: Path, name: str, codec: str) -> None:
    """Films keep what is said there, and a mean over six channels would leave a sixth of it beside the music."""
    voice, t = stepped(48_000), np.arange(96_000) / 48_000
    channels = np.zeros((6, 96_000), np.float32)
    channels[:2] = 0.5 * np.sin(2 * np.pi * 90 * t)  # music
    channels[2] = voice
    channels[3] = 0.5 * np.sin(2 * np.pi * 50 * t)  # LFE
    path = write_sound(tmp_path / name, codec, 48_000, channels, "5.1(side)" if codec == "ac3" else "5.1")
    ours = decode_audio(path)
    assert ours is not None
    assert heard(ours) == ALL
    assert np.sqrt(np.square(ours).mean()) == pytest.approx(np.sqrt(np.square(voice).mean()), rel=0.05)
    spectrum = np.abs(np.fft.rfft(ours))
    assert max(spectrum[hz * len(ours) // SAMPLE_RATE] for hz in (50, 90)) < 1e-3 * len(ours)


def test_six_channels_of_no_named_layout_are_taken_for_5_1_and_five_are_averaged(tmp_path: Path) -> None:
    for channels, gain in ((6, 1.0), (5, 0.2)):
        sound = np.zeros((16_000, channels), np.float32)
        sound[:, 2] = 0.5
        soundfile.write(tmp_path / "a.wav", sound, 16_000, "FLOAT")
        np.testing.assert_allclose(decode_audio(tmp_path / "a.wav"), 0.5 * gain, atol=1e-6)


def test_a_layout_without_a_centre_is_mixed_as_ffmpeg_mixes_it(tmp_path: Path) -> None:
    channels = np.zeros((4, 96_000), np.float32)
    channels[0] = stepped(48_000)
    path = write_sound(tmp_path / "a.flac", "flac", 48_000, channels, "quad")
    with av.open(str(path)) as container:
        mono = av.AudioResampler("s16", "mono", SAMPLE_RATE)
        frames = [f for frame in (*container.decode(audio=0), None) for f in mono.resample(frame)]
    theirs, ours = np.concatenate([f.to_ndarray()[0] for f in frames]) / 2**15, decode_audio(path)
    assert ours is not None
    np.testing.assert_allclose(ours[:30_000], theirs[:30_000], atol=0.01)  # of another resampler


def test_of_several_sound_tracks_the_default_one_is_heard(tmp_path: Path) -> None:
    from av.stream import Disposition

    path = tmp_path / "tracks.mkv"
    with av.open(str(path), "w") as out:
        streams = [out.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(3)]
        streams[2].disposition = Disposition.default
        for stream, sign in zip(streams, (0.0, 0.5, 1.0), strict=True):
            frame = av.AudioFrame.from_ndarray((sign * stepped(16_000) * 2**15).astype(np.int16)[None], "s16", "mono")
            frame.rate, frame.pts = 16_000, 0
            out.mux(stream.encode(frame))
            out.mux(stream.encode())
    np.testing.assert_allclose(decode_audio(path), stepped(16_000), atol=1e-4)


@pytest.mark.parametrize("sample", [1e19, -1e30, 3e38])
def test_samples_beyond_any_scale_are_an_error(tmp_path: Path, sample: float) -> None:
    sound = stepped(16_000)
    sound[5] = sample
    soundfile.write(tmp_path / "loud.wav", sound, 16_000, "FLOAT")
    with pytest.raises(MediaError, match="beyond any scale"):
        decode_audio(tmp_path / "loud.wav")


def test_a_click_in_ten_minutes_refuses_nothing(tmp_path: Path) -> None:
    sound = np.tile(stepped(8_000), 300)
    sound[8_000] = np.nan
    soundfile.write(tmp_path / "long.wav", sound, 8_000, "FLOAT")
    got = read_audio(tmp_path / "long.wav", SECONDS)
    assert got is not None
    assert (heard(got.samples), got.seconds) == (ALL, 600)


def test_integers_of_64_bits(tmp_path: Path) -> None:
    samples = (stepped(16_000).astype(np.float64) * 2**63).astype(np.int64).tobytes()
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 16_000 * 8, 8, 64)
    riff = b"WAVE" + form + b"data" + struct.pack("<I", len(samples)) + samples
    (tmp_path / "s64.wav").write_bytes(b"RIFF" + struct.pack("<I", len(riff)) + riff)
    np.testing.assert_allclose(decode_audio(tmp_path / "s64.wav"), stepped(16_000), atol=1e-6)


def test_a_name_that_is_not_utf_8(tmp_path: Path, made: Path) -> None:
    for name in ("a.wav", "a.m4a"):
        path = Path(str(tmp_path / "bad\udcff") + name)
        path.write_bytes((made / name).read_bytes())
        assert heard(decode_audio(path)) == ALL
