"""Media files of known content: a chord as their sound, frames of rising brightness as their picture."""

from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import soundfile

SECONDS = 1.5
DARK, STEP = 24, 8  # brightness of frame 0, and how much brighter each next frame is


def tone(rate: int, channels: int = 1) -> np.ndarray:
    """f32[samples channels]: a chord whose mean over channels has amplitude 0.5, the channels at different levels."""
    t = np.arange(round(rate * SECONDS)) / rate
    level = np.linspace(0.5, 1.5, channels) if channels > 1 else np.ones(1)
    chord = 0.3 * np.sin(2 * np.pi * 330 * t) + 0.2 * np.sin(2 * np.pi * 1250 * t)
    return (chord[:, None] * level).astype(np.float32)


def write_av(
    path: Path,
    video: str | None = None,
    audio: str | None = None,
    frames: int = 18,
    pts: list[int] | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
) -> None:
    """A file with frames of rising brightness at 12 a second (or at `pts` twelfths), and the chord as its sound."""
    with av.open(str(path), "w", options=container or {}) as out:
        stream = None if video is None else cast(av.VideoStream, out.add_stream(video, rate=12, options=options or {}))
        sound = None if audio is None else cast(av.AudioStream, out.add_stream(audio, rate=48_000, layout="stereo"))
        if stream is not None:
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
            for i, at in enumerate(pts or range(frames)):
                picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), DARK + STEP * (i % 28), np.uint8), "rgb24")
                picture.pts, picture.time_base = at, Fraction(1, 12)
                out.mux(stream.encode(picture))
            out.mux(stream.encode())
        if sound is not None:
            size = sound.codec_context.frame_size or 1024
            resampler = av.AudioResampler(sound.format.name, "stereo", 48_000, size)
            whole = av.AudioFrame.from_ndarray(np.ascontiguousarray(tone(48_000, 2).T), "fltp", "stereo")
            whole.rate, whole.pts = 48_000, 0
            for chunk in (*resampler.resample(whole), *resampler.resample(None)):
                out.mux(sound.encode(chunk))
            out.mux(sound.encode())


SOUNDS = [  # file, libsndfile's subtype, rate, channels, least SNR in dB
    ("u8.wav", "PCM_U8", 11_025, 1, 33),
    ("s16.wav", "PCM_16", 44_100, 2, 80),
    ("s24.wav", "PCM_24", 48_000, 5, 100),
    ("s32.wav", "PCM_32", 96_000, 2, 100),
    ("f32.wav", "FLOAT", 22_050, 1, 100),
    ("f64.wav", "DOUBLE", 8_000, 3, 100),
    ("mulaw.wav", "ULAW", 8_000, 1, 30),
    ("s16.aiff", "PCM_16", 32_000, 2, 80),
    ("s16.flac", "PCM_16", 44_100, 2, 80),
    ("s24.flac", "PCM_24", 16_000, 1, 100),
    ("odd.flac", "PCM_16", 12_345, 6, 80),
    ("vorbis.ogg", "VORBIS", 44_100, 2, 20),
    ("opus.ogg", "OPUS", 48_000, 1, 20),
    ("cbr.mp3", "MPEG_LAYER_III", 44_100, 2, 30),
]
FILMS = [  # file, video codec, audio codec, options of the container
    ("film.mp4", "libx264", "aac", {}),
    ("fast.mp4", "libx264", "aac", {"movflags": "faststart"}),
    ("film.mov", "libx264", "pcm_s16le", {}),
    ("vp8.webm", "libvpx", "libopus", {}),
    ("vp9.webm", "libvpx-vp9", "libopus", {}),
    ("mpeg4.avi", "mpeg4", "libmp3lame", {}),
    ("mjpeg.avi", "mjpeg", "pcm_s16le", {}),
    ("film.mkv", "libx264", "flac", {}),
]


def write_all(folder: Path) -> None:
    for name, subtype, rate, channels, _ in SOUNDS:
        soundfile.write(folder / name, tone(rate, channels), rate, subtype)
    for name, video, audio, options in FILMS:
        write_av(folder / name, video, audio, container=options)
