"""Recordings that tell where one is in them: a tone that steps up every quarter of a second; films by their frames."""

import struct
from pathlib import Path
from typing import cast

import av
import numpy as np

from emojax.data.audio import SAMPLE_RATE
from emojax.data.video import decode_video
from support.media_files import DARK, STEP

TONES = (300, 500, 800, 1200, 1700, 2300, 3000, 3800)  # Hz
SECONDS = len(TONES) / 4
ALL = list(range(len(TONES)))
SIGNATURE = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)  # a display matrix that changes nothing


def stepped(rate: int, seconds: float = SECONDS) -> np.ndarray:
    """f32[samples]"""
    t = np.arange(round(rate * seconds)) / rate
    return (0.4 * np.sin(2 * np.pi * np.array(TONES)[(t * 4).astype(int) % len(TONES)] * t)).astype(np.float32)


def heard(samples: np.ndarray | None) -> list[int]:
    """The step in each whole quarter of a second at 16 kHz."""
    assert samples is not None
    quarter = SAMPLE_RATE // 4
    found = []
    for at in range(0, len(samples) - quarter + 1, quarter):
        middle = samples[at + 500 : at + quarter - 500]
        peak = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))).argmax() * SAMPLE_RATE / len(middle)
        found.append(int(np.abs(np.array(TONES) - peak).argmin()))
    return found


def write_sound(
    path: Path, codec: str, rate: int = 44_100, channels: np.ndarray | None = None, layout: str = "mono", **options: str
) -> Path:
    """By FFmpeg: the stepped tone, or f32[channels samples]; the options are the container's."""
    channels = stepped(rate)[None] if channels is None else channels
    with av.open(str(path), "w", options=options) as out:
        stream = cast(av.AudioStream, out.add_stream(codec, rate=rate, layout=layout))
        resampler = av.AudioResampler(stream.format.name, layout, rate, stream.codec_context.frame_size or 1024)
        whole = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), "fltp", layout)
        whole.rate, whole.pts = rate, 0
        for chunk in (*resampler.resample(whole), *resampler.resample(None)):
            out.mux(stream.encode(chunk))
        out.mux(stream.encode())
    return path


def shown(path: Path, frames: int) -> list[int]:
    """Which frames of a film of `support.media_files` are sampled."""
    pictures = decode_video(path, frames, 16)
    assert pictures is not None
    return np.round((pictures.mean((1, 2, 3)) - DARK) / STEP + 0.2).astype(int).tolist()


def without_end_flag(data: bytes) -> bytes:
    """An Ogg file whose last page does not say that it is the last."""
    made, at, last = bytearray(data), 0, 0
    while at < len(data):
        last = at
        at += 27 + data[at + 26] + sum(data[at + 27 : at + 27 + data[at + 26]])
    made[last + 5] &= ~4
    made[last + 22 : last + 26] = bytes(4)
    checksum = 0
    for byte in made[last:]:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum & 0x80000000 else 0)) & 0xFFFFFFFF
    made[last + 22 : last + 26] = checksum.to_bytes(4, "little")
    return bytes(made)


def write_matrix(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Says in an MP4 how its pictures are to be turned and mirrored."""
    a, b, c, d = (m << 16 for m in matrix)
    data = path.read_bytes()
    at = data.index(SIGNATURE, data.index(b"tkhd"))
    path.write_bytes(data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :])
