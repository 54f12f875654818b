"""What the captioner hears and sees of a clip, as a page shows it: waveform, spectrogram, frames."""

import base64
import io
from typing import Any

import numpy as np

from emojax.data.audio import SAMPLE_RATE
from emojax.data.reader import Decoded

_COLUMNS = 480  # of both plots, at most
_WINDOW = 512  # 32 ms
_BANDS = 96
_RANGE = 8.0  # nats below the loudest that are shown


def shown(decoded: Decoded) -> dict[str, Any]:
    """`seconds` that are heard, `waveform` (the lowest and the highest sample of each column, −1 to 1), `spectrogram`
    and `frames`: PNG files as data URLs. Of a stream that is not there None, or no frames."""
    audio = decoded.audio
    heard = audio is not None and len(audio) > 0
    return {
        "seconds": len(audio) / SAMPLE_RATE if audio is not None else 0.0,
        "waveform": waveform(audio) if audio is not None and heard else None,
        "spectrogram": png(spectrogram(audio)) if audio is not None and heard else None,
        "frames": [] if decoded.video is None else [png(frame) for frame in decoded.video],
    }


def waveform(audio: np.ndarray) -> list[list[float]]:
    parts = np.array_split(audio, min(_COLUMNS, len(audio)))
    return [[round(float(np.clip(x, -1, 1)), 3) for x in (part.min(), part.max())] for part in parts]


def spectrogram(audio: np.ndarray) -> np.ndarray:
    """u8[bands columns] from silence to the loudest, low tones at the bottom; bands grow wider with their pitch."""
    padded = np.pad(audio, (0, max(0, _WINDOW - len(audio))))
    hop = max(160, len(padded) // _COLUMNS)
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::hop] * np.hanning(_WINDOW)
    power = np.abs(np.fft.rfft(windows, axis=-1)) ** 2
    mel = np.linspace(np.log1p(60 / 700), np.log1p(SAMPLE_RATE / 2 / 700), _BANDS)
    bins = (700 * np.expm1(mel) / SAMPLE_RATE * _WINDOW).round().astype(int).clip(0, power.shape[1] - 1)
    level = np.log(power[:, bins].T[::-1] + 1e-8)
    return (255 * np.clip((level - level.max()) / _RANGE + 1, 0, 1)).astype(np.uint8)


def png(pixels: np.ndarray) -> str:
    """u8[height width] or u8[height width 3] as a data URL."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
