"""A sound file, or the sound of a video file, to 16 kHz mono float32."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emojax.data.container import MediaError, check_whole, open_media

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

SAMPLE_RATE = 16_000
_MARGIN = 0.5  # seconds read beyond the limit, so that the resampler's filter never sees the cut
_LIBSNDFILE = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xfa", b"\xff\xf2")


def decode_audio(path: Path, seconds: float | None = None) -> np.ndarray | None:
    """Decodes any format that libsndfile or FFmpeg reads, at any rate, bit depth and number of channels.

    Channels are averaged; the rate is changed by soxr. Integer samples are scaled to [-1, 1).

    Args:
      path: an audio file, or a video file with a sound track.
      seconds: of it to read; None: all.
    Returns:
      f32[A] at 16 kHz, or None where the container has no audio stream.
    Raises:
      MediaError: missing, empty, cut off, damaged, or without a single sample.
    """
    import soxr

    check_whole(path)
    reach = None if seconds is None else seconds + _MARGIN
    read = _by_libsndfile(path, reach) or _by_ffmpeg(path, reach)
    if read is None:
        return None
    mono, rate = read
    if not len(mono):
        raise MediaError(path, "has an audio stream without a sample")
    if not np.isfinite(mono).all():
        raise MediaError(path, "has samples that are not finite")
    mono = mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE)
    return np.ascontiguousarray(mono[: None if seconds is None else round(seconds * SAMPLE_RATE)], np.float32)


def _by_libsndfile(path: Path, seconds: float | None) -> tuple[np.ndarray, int] | None:
    """Samples and rate, or None for a format that FFmpeg must read."""
    import soundfile

    with open(path, "rb") as file:
        if not file.read(4).startswith(_LIBSNDFILE):
            return None
    try:
        sound = soundfile.SoundFile(str(path))
    except soundfile.LibsndfileError:
        return None  # the container is known, what is in it is not (AVI, Theora, MP3 in WAV)
    with sound:
        wanted = sound.frames if seconds is None else min(sound.frames, int(seconds * sound.samplerate))
        try:
            samples = sound.read(wanted, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as e:
            raise MediaError(path, f"cannot be decoded ({e.error_string})") from None
        if len(samples) < wanted:
            raise MediaError(path, f"is cut off or damaged: {len(samples)} of {wanted} samples can be decoded")
        return samples.mean(1), sound.samplerate


def _by_ffmpeg(path: Path, seconds: float | None) -> tuple[np.ndarray, int] | None:
    import av.error

    with open_media(path) as container:
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            return None
        parts, rate, total = [], 0, 0
        try:
            for frame in container.decode(stream):
                if rate and frame.sample_rate != rate:
                    raise MediaError(path, f"changes its sample rate from {rate} to {frame.sample_rate} Hz")
                rate = frame.sample_rate
                parts.append(_mono(frame))
                total += len(parts[-1])
                if seconds is not None and total >= seconds * rate:
                    break
        except av.error.FFmpegError as e:
            raise MediaError(path, f"has audio that cannot be decoded ({e.strerror})") from None
        return np.concatenate(parts) if parts else np.zeros(0, np.float32), rate


def _mono(frame: "AudioFrame") -> np.ndarray:
    """f32[samples] of one decoded frame, in whichever sample format the codec speaks."""
    samples = frame.to_ndarray()  # planar: [channels samples]; packed: [1 samples*channels]
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif np.issubdtype(samples.dtype, np.integer):
        samples = samples / 2.0 ** (8 * samples.itemsize - 1)
    return samples.mean(0, dtype=np.float64).astype(np.float32)
