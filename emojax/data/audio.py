"""A sound file, or the sound of a video file, to 16 kHz mono float32."""

import functools
import io
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from emojax.data.container import (
    MediaError,
    audio_stream,
    check_whole,
    count_seconds,
    open_media,
    require_codec,
    stated_seconds,
)
from emojax.data.ogg import is_marked
from emojax.data.stated import read_xing

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from soundfile import SoundFile

SAMPLE_RATE = 16_000
LOUDEST = 2.0**31  # the largest scale that samples are written in; squares of far more overflow float32
_MARGIN = 0.5  # seconds read beyond the limit, so that the resampler's filter never sees the cut
_BLOCK = 1 << 18  # samples read at once
_GUESSED = {"6 channels": "5.1", "8 channels": "7.1"}
_CLICKS = 100_000  # one sample in so many may be no number: a click, not another kind of data
_LIBSNDFILE = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xfa", b"\xff\xf2")


@dataclass(frozen=True)
class Sound:
    samples: np.ndarray  # f32[A] at 16 kHz, of the seconds that were asked for
    seconds: float  # of the whole recording


@dataclass(frozen=True)
class _Read:
    """What a library gave, at the file's own rate."""

    mono: np.ndarray  # f32[samples]
    rate: int
    seconds: float  # of the whole recording


def decode_audio(path: Path, seconds: float | None = None) -> np.ndarray | None:
    """f32[A] at 16 kHz: the samples that `read_audio` gives; raises as it does."""
    sound = read_audio(path, seconds)
    return None if sound is None else sound.samples


def read_audio(path: Path, seconds: float | None = None, start: float = 0.0, end: float | None = None) -> Sound | None:
    """Decodes any format that libsndfile or FFmpeg reads, at any rate, bit depth and number of channels.

    Of a layout that has a centre, where films keep what is said, that channel is read; stereo and others are averaged,
    an LFE left out. The rate is changed by soxr. Integer samples are scaled to [-1, 1). Recordings joined byte by byte
    are read one after another.

    Args:
      path: an audio file, or a video file with a sound track.
      seconds: of it to read, from `start` on; None: all.
      start: seconds into the file at which the recording begins. end: at which it ends; None: with the file.
    Returns:
      None where the container has no audio stream.
    Raises:
      MediaError: missing, empty, cut off, damaged, without a single sample, beyond any scale, or over before `start`.
    """
    import soxr

    ends = [stop for stop in (end, None if seconds is None else start + seconds) if stop is not None]
    read = _read(path, min(ends) + _MARGIN if ends else None)
    if read is None:
        return None
    mono, rate = read.mono, read.rate
    if not len(mono):
        raise MediaError(path, "has an audio stream without a sample")
    if len(mono) <= round(start * rate):
        raise MediaError(path, f"is {read.seconds:.1f} s long, and its clip begins at {start:g} s")
    mono = _finite(path, mono, read.seconds * rate)
    skipped = max(0, math.floor(start - _MARGIN))  # whole seconds, which are whole samples at any rate
    mono = mono[skipped * rate :]
    mono = mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE)
    first, last = (round((at - skipped) * SAMPLE_RATE) for at in (start, min(ends, default=start)))
    samples = np.ascontiguousarray(mono[first : last if ends else None], np.float32)
    return Sound(samples, (read.seconds if end is None else min(end, read.seconds)) - start)


def _finite(path: Path, mono: np.ndarray, total: float) -> np.ndarray:
    most = max(-mono.min(), mono.max())
    if not np.isfinite(most):
        odd = ~np.isfinite(mono)
        if odd.sum() * _CLICKS > total:
            raise MediaError(path, f"has samples that are not finite ({odd.sum()} of {len(mono)})")
        mono = np.where(odd, np.float32(0), mono)
        most = np.abs(mono).max()
    if most > LOUDEST:
        raise MediaError(path, f"has samples beyond any scale (up to {most:.3g})")
    return mono


def _read(path: Path, seconds: float | None) -> _Read | None:
    """By libsndfile where it reads the whole of such a file, else by FFmpeg."""
    parts = check_whole(path)
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        if not data[:4].startswith(_LIBSNDFILE):
            return _by_ffmpeg(path, seconds)
        if data[:4] == b"OggS":
            exact = is_marked(data)
        else:
            exact = data[:4] in (b"RIFF", b"RF64", b"fLaC") or read_xing(data).is_whole(data)
        if len(parts) > 1 and (exact or data[:4] != b"OggS"):
            return _joined(path, data, parts, seconds)
    return (_by_libsndfile(path, os.fsencode(path), seconds) if exact else None) or _by_ffmpeg(path, seconds)


def _joined(path: Path, data: mmap, parts: list[tuple[int, int]], seconds: float | None) -> _Read | None:
    found: list[_Read] = []
    for start, end in parts:
        left = None if seconds is None else max(0.0, seconds - sum(r.seconds for r in found))
        read = _by_libsndfile(path, io.BytesIO(data[start:end]), left)
        if read is None:
            return _by_ffmpeg(path, seconds)
        found.append(read)
    if len({r.rate for r in found}) > 1:
        raise MediaError(path, f"is recordings of several rates joined: {sorted({r.rate for r in found})} Hz")
    return _Read(np.concatenate([r.mono for r in found]), found[0].rate, sum(r.seconds for r in found))


def _by_libsndfile(path: Path, file: bytes | io.BytesIO, seconds: float | None) -> _Read | None:
    """None for a format that FFmpeg must read."""
    import soundfile

    try:
        sound = soundfile.SoundFile(cast(BinaryIO, file))  # bytes too: a name that need not be UTF-8
    except soundfile.LibsndfileError:
        return None  # the container is known, what is in it is not (AVI, Theora)
    with sound:
        estimated = sound.subtype.startswith("MPEG") and sound.format != "MP3"  # MP3 in WAV
        mapped = sound.format == "OGG" and sound.channels > 2  # whose channels come in an order of their own
        if estimated or mapped or not 0 < sound.frames < 2**36 - 1:
            return None  # how much there is was not known when the header was written
        weights = np.ones(1) if sound.channels < 3 else _weights(_layout(path, sound))
        wanted = sound.frames if seconds is None else min(sound.frames, int(seconds * sound.samplerate))
        parts, got = [], 0
        try:
            while got < wanted and len(block := _block(sound, min(_BLOCK, wanted - got))):
                parts.append(_mixed(block, weights))
                got += len(block)
        except soundfile.LibsndfileError as e:
            raise MediaError(path, f"cannot be decoded ({e.error_string})") from None
        if got < wanted:
            raise MediaError(path, f"is cut off or damaged: {got} of {wanted} samples can be decoded")
        mono = parts[0] if len(parts) == 1 else np.concatenate([*parts, np.zeros(0, np.float32)])
        return _Read(mono, sound.samplerate, sound.frames / sound.samplerate)


def _block(sound: "SoundFile", samples: int) -> np.ndarray:
    return sound.read(samples, dtype="float32", always_2d=True)


def _mixed(block: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """f32[samples] of [samples channels]; `mean` is slow for so short an axis."""
    match block.shape[1]:
        case 1:
            return block[:, 0]
        case 2:
            return (block[:, 0] + block[:, 1]) / 2
    return (block @ weights).astype(np.float32)


def _layout(path: Path, sound: "SoundFile") -> str:
    """What FFmpeg calls the layout of a file whose channels libsndfile gives in their order."""
    with open_media(path) as container:
        stream = audio_stream(container)
        return f"{sound.channels} channels" if stream is None else stream.layout.name


@functools.lru_cache
def _weights(layout: str) -> np.ndarray:
    """f64[channels] of the mix to mono: the centre alone where there is one, where films keep what is said and a mean
    would leave a sixth of it; else FFmpeg's own, what it makes of one sample in each channel.

    A file that names no layout has what FFmpeg guesses of 6 and of 8 channels, 5.1 and 7.1; other numbers of channels
    are averaged, and so are layouts that it has no mix for.
    """
    import av
    import av.error

    channels = av.AudioLayout(layout).nb_channels
    guessed = av.AudioLayout(_GUESSED.get(layout, layout))
    centre = np.array([channel.name == "FC" for channel in guessed.channels], np.float64)
    if centre.sum() == 1:
        return centre
    named = not layout.endswith(" channels") or channels in (6, 8)
    one_each = av.AudioFrame.from_ndarray(np.eye(channels, dtype=np.float32).reshape(1, -1), "flt", layout)
    one_each.sample_rate = SAMPLE_RATE
    try:
        mixed = av.AudioResampler("s32", "mono", SAMPLE_RATE).resample(one_each) if named else []
    except av.error.FFmpegError:
        mixed = []
    found = np.concatenate([m.to_ndarray()[0] for m in mixed] or [np.ones(channels)]).astype(np.float64)
    return found / found.sum()


def _by_ffmpeg(path: Path, seconds: float | None) -> _Read | None:
    import av.error

    with open_media(path) as container:
        stream = audio_stream(container)
        if stream is None:
            return None
        require_codec(path, stream)
        parts, rate, total = [], 0, 0
        left: float | None = 0.0
        try:
            for frame in _frames(container, stream):
                if rate and frame.sample_rate != rate:
                    raise MediaError(path, f"changes its sample rate from {rate} to {frame.sample_rate} Hz")
                rate = frame.sample_rate
                parts.append(_mono(frame))
                total += len(parts[-1])
                if seconds is not None and total >= seconds * rate:
                    stated = stated_seconds(path, container, stream)
                    left = count_seconds(container, stream) if stated is None else max(0.0, stated - total / rate)
                    break
        except av.error.FFmpegError as e:
            raise MediaError(path, f"has audio that cannot be decoded ({e.strerror})") from None
        mono = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        return _Read(mono, rate, total / max(rate, 1) + (left or 0))


def _frames(container: "InputContainer", stream: "AudioStream") -> "Iterator[AudioFrame]":
    """All frames. Tags between the frames of an MP3, where another was joined on, are passed over, and so is what comes
    after the last frame."""
    import av
    import av.error

    failed: av.error.InvalidDataError | None = None
    for packet in container.demux(stream):
        if failed and packet.size:
            raise failed
        try:
            yield from packet.decode()
        except av.error.InvalidDataError as e:
            data = bytes(packet)
            if stream.codec_context.name not in ("mp3", "mp3float"):
                raise
            if rest := data[read_xing(data).start :] if data.startswith(b"ID3") else b"":
                yield from stream.codec_context.decode(av.Packet(rest))
            elif data[:1] == b"\xff" and data[1:2] >= b"\xe0" and data[2:3] < b"\xf0":
                raise  # a frame
            else:
                failed = e


def _mono(frame: "AudioFrame") -> np.ndarray:
    """f32[samples] of one decoded frame, in whichever sample format the codec speaks."""
    import av

    if frame.format.name.startswith("s64"):  # which NumPy is not given
        (frame,) = av.AudioResampler("dblp", frame.layout, frame.sample_rate).resample(frame)
    samples = frame.to_ndarray()  # planar: [channels samples]; packed: [1 samples*channels]
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif np.issubdtype(samples.dtype, np.integer):
        samples = samples / 2.0 ** (8 * samples.itemsize - 1)
    if len(samples) < 3:
        return samples.mean(0, dtype=np.float64).astype(np.float32)
    return (_weights(frame.layout.name) @ samples).astype(np.float32)
