"""A source-filter voice whose manner follows emotion and speaking style.

Glottal pulses and breath noise go through the resonances of a vocal tract (Fant 1960; the resonators are Klatt 1980's,
the pulse Rosenberg 1971's, the vowels Peterson & Barney's 1952). How emotion moves pitch, loudness, rate, breathiness
and spectral tilt follows the reviews of vocal affect: Banse & Scherer 1996 (J. Pers. Soc. Psychol. 70), Scherer 2003
(Speech Communication 40) and Juslin & Laukka 2003 (Psychol. Bull. 129), whose soft, quick, level-pitched fear is ours
(not panic); the low, slow grumble of disgust is Murray & Arnott's (1993, J. Acoust. Soc. Am. 93). Surprise is in none
of their tables: a wide range that ends in a steep rise is our choice, and so are all amounts.
"""

import re
from dataclasses import astuple, dataclass

import numpy as np

RATE = 16_000  # Hz
HOP = 160  # samples between the frames in which the voice is steered: 10 ms
FFT = 512  # 20 ms windows, and room for the resonances to ring
LEVEL = -30.0  # dB of full scale, RMS of plain speech: leaves room for shouting
ROOM = -64.0  # dB of full scale, RMS of the background noise
PLAIN = 6.4  # syllables a second of plain speech in a corpus of two-second clips
EDGE = 0.12  # seconds of silence before and after the speech


@dataclass(frozen=True)
class Voice:
    """What a speaker's voice is, whatever is said and felt."""

    pitch: float  # Hz, median of plain speech
    accent: float  # semitones, height of a pitch accent
    tract: float  # formant frequencies relative to an adult man's
    breath: float  # 0 (clear) to 1 (whisper)
    tilt: float  # dB an octave, above the mean voice's
    level: float  # dB, above the mean voice's
    pace: float  # log2 of the syllable rate, above the mean voice's


@dataclass(frozen=True)
class Manner:
    """How an utterance is spoken, as a difference from the speaker's plain voice. Manners add up."""

    pitch: float = 0.0  # semitones
    span: float = 0.0  # log2 of the height of the pitch accents
    slope: float = 0.0  # semitones from the first syllable to the last
    final: float = 0.0  # semitones, rise or fall over the last third
    loudness: float = 0.0  # dB
    pace: float = 0.0  # log2 of the syllable rate
    breath: float = 0.0  # 0..1
    tilt: float = 0.0  # dB an octave: positive is a pressed, bright voice
    tremor: float = 0.0  # semitones, at 6.5 Hz
    rough: float = 0.0  # 0..1, irregular periods: creak
    spread: float = 0.0  # log2 shift of the formants: positive with spread lips
    pause: float = 0.0  # seconds, after every second word


EMOTIONS = {  # at middle intensity
    "neutral": Manner(),
    "happy": Manner(pitch=4, span=0.9, final=1, loudness=3, pace=0.1, tilt=1, spread=0.1),
    "sad": Manner(pitch=-3, span=-1.2, slope=-3, loudness=-5, pace=-0.2, breath=0.15, tilt=-3, spread=-0.05),
    "angry": Manner(pitch=3, span=0.5, final=-4, loudness=5, pace=0.1, tilt=4, rough=0.25),
    "surprised": Manner(pitch=5, span=0.5, slope=6, final=9, loudness=2, breath=0.05, tilt=0.5),
    "disgusted": Manner(pitch=-4, span=-0.2, slope=-2, final=-3, pace=-0.15, tilt=2, rough=0.8, spread=-0.12),
    "fearful": Manner(pitch=6, span=-1.0, loudness=-3, pace=0.2, breath=0.1, tilt=-1.5, tremor=1.1),
}
STYLES = {  # wider apart than what an emotion does to the same quantities, so that both can be heard at once
    "plain": Manner(),
    "fast": Manner(pace=0.6),
    "slow": Manner(pace=-0.6),
    "whispering": Manner(loudness=-9, breath=0.75),
    "loud": Manner(loudness=10, tilt=1),
    "hesitant": Manner(pause=0.3),
}

VOWELS = {  # Hz: the first three formants of men (Peterson & Barney 1952, table II)
    "i": (270, 2290, 3010),
    "ɪ": (390, 1990, 2550),
    "ɛ": (530, 1840, 2480),
    "æ": (660, 1720, 2410),
    "ɑ": (730, 1090, 2440),
    "ɔ": (570, 840, 2410),
    "ʊ": (440, 1020, 2240),
    "u": (300, 870, 2240),
    "ʌ": (640, 1190, 2390),
    "ɝ": (490, 1350, 1690),
}
SPELLINGS = (  # the first that a vowel group begins with; close enough to English for a voice nobody transcribes
    *(("ee", "i"), ("ea", "i"), ("ie", "i"), ("oo", "u"), ("ou", "ʌ"), ("ow", "ɔ"), ("oa", "ɔ"), ("ai", "ɛ")),
    *(("ay", "ɛ"), ("er", "ɝ"), ("ir", "ɝ"), ("ur", "ɝ"), ("or", "ɔ"), ("ar", "ɑ"), ("a", "æ"), ("e", "ɛ")),
    *(("i", "ɪ"), ("o", "ɑ"), ("u", "ʊ"), ("y", "i")),
)


@dataclass(frozen=True)
class Syllable:
    onset: str  # stop, hiss, hum or none
    vowel: str
    stressed: bool  # the first of a word that is not a short function word
    last: bool  # of its word


@dataclass(frozen=True)
class Timing:
    """When each syllable of an utterance is spoken."""

    syllables: tuple[Syllable, ...]
    start: np.ndarray  # seconds
    length: np.ndarray  # seconds
    frames: int  # of HOP samples, the whole clip


def combine(*parts: tuple[float, Manner]) -> Manner:
    """The weighted sum of manners."""
    rows = zip(*([weight * value for value in astuple(manner)] for weight, manner in parts), strict=True)
    return Manner(*(sum(row) for row in rows))


def syllables(text: str) -> tuple[Syllable, ...]:
    """The syllables of English text, by spelling: a rough guess that is always the same."""
    found = []
    for word in re.findall(r"[a-z]+", text.lower()):
        body = word[:-1] if re.search(r"[^aeiouy]e$", word) and re.search(r"[aeiouy].*e$", word) else word
        groups = re.findall(r"([^aeiouy]*)([aeiouy]+r?)", body) or [(word, "e")]
        for number, (consonants, vowel) in enumerate(groups):
            key = next(sound for spelling, sound in SPELLINGS if vowel.startswith(spelling))
            letter = consonants[:1]
            onset = "stop" if letter in set("bcdgkpqt") else "hiss" if letter in set("fhjsxz") else "hum"
            stressed = number == 0 and len(word) > 3
            found.append(Syllable(onset if letter else "none", key, stressed, number == len(groups) - 1))
    return tuple(found)


def timing(text: str, voice: Voice, manner: Manner, seconds: float) -> Timing:
    """When the syllables of `text` fall, at the rate of a corpus whose clips last `seconds` on average.

    The clip lasts between half and 1.9 times `seconds`: what would be longer or shorter is spoken faster or slower.
    """
    parts = syllables(text)
    scale = seconds / 2.0
    length = np.full(len(parts), scale / PLAIN * 2.0 ** -(voice.pace + manner.pace))
    length *= np.array([1.2 if part.stressed else 0.9 for part in parts])
    length[-1] *= 1.4  # the last syllable of an utterance is drawn out
    pause = np.zeros(len(parts))
    ends = [number for number, part in enumerate(parts) if part.last][1:-1:2]
    pause[ends] = manner.pause * scale
    spoken, edges = float(np.sum(length + pause)), 2 * EDGE * scale
    fit = np.clip(spoken, 0.5 * seconds - edges, 1.9 * seconds - edges) / spoken
    length, pause = length * fit, pause * fit
    start = EDGE * scale + np.concatenate([[0.0], np.cumsum(length + pause)[:-1]])
    return Timing(parts, start, length, round((spoken * fit + edges) * RATE / HOP))


def opening(spoken: Timing, times: np.ndarray) -> np.ndarray:
    """How far the mouth is open for speech at each of `times` (seconds): 0..1 [S]."""
    phase = (times[:, None] - spoken.start) / spoken.length
    wide = np.array([VOWELS[part.vowel][0] / 730 for part in spoken.syllables])
    return np.sum(wide * np.sin(np.pi * np.clip(phase, 0, 1)) ** 2, axis=1)


def speak(voice: Voice, manner: Manner, spoken: Timing, rng: np.random.Generator) -> np.ndarray:
    """The utterance as sound: float32[frames * HOP], within ±1."""
    samples = spoken.frames * HOP
    time = (np.arange(spoken.frames) + 0.5) * HOP / RATE
    breath = float(np.clip(voice.breath + manner.breath, 0.02, 0.92))
    voiced, hiss = _envelopes(spoken, time)
    pulses, pressure = _glottis(_pitch(voice, manner, spoken, time, rng), manner.rough, breath, samples, rng)
    noise = rng.standard_normal(samples)
    at = (np.arange(samples) + 0.5) / RATE
    gain = np.interp(at, time, voiced)
    source = gain * ((1 - breath) * pulses + 0.6 * breath * noise * pressure)
    sound = _filter(source, _tract(voice, manner, spoken, time, breath))
    ridge = np.exp(-(((np.fft.rfftfreq(FFT, 1 / RATE) - 4800 * voice.tract**0.5) / 1500) ** 2))
    sound = sound / np.sqrt(np.mean(sound[gain > 0.5] ** 2))
    hissing = _filter(rng.standard_normal(samples) * np.interp(at, time, hiss), ridge[None])
    sound = 10 ** ((LEVEL + voice.level + manner.loudness) / 20) * (sound + 0.6 * hissing)
    sound += 10 ** (ROOM / 20) * rng.standard_normal(samples)
    return np.tanh(sound).astype(np.float32)  # loud peaks saturate instead of wrapping


def _envelopes(spoken: Timing, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strength of voicing and of frication noise in each frame, 0..1."""
    points: list[tuple[float, float, float]] = [(0.0, 0.0, 0.0)]  # seconds, voicing, frication
    for part, start, length in zip(spoken.syllables, spoken.start, spoken.length, strict=True):
        onset = min(0.35 * length, 0.09)
        low, noise = {"stop": (0.0, 0.0), "hiss": (0.05, 0.8), "hum": (0.35, 0.0), "none": (0.8, 0.0)}[part.onset]
        burst = 0.6 if part.onset == "stop" else noise
        end = start + length
        points += [(start, 0.5, 0.0), (start + 0.012, low, noise), (start + onset, low, burst)]
        points += [(start + onset + 0.02, 1.0 if part.stressed else 0.8, 0.0), (end - 0.02, 0.6, 0.0), (end, 0.5, 0.0)]
        if part.last:
            points.append((end + 0.015, 0.0, 0.0))
    at, voiced, hiss = np.array(sorted(points)).T
    return np.interp(time, at, voiced, right=0.0), np.interp(time, at, hiss, right=0.0)


def _pitch(voice: Voice, manner: Manner, spoken: Timing, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fundamental frequency in each frame, Hz: declination, accents, the final movement, tremor and jitter."""
    first, last = spoken.start[0], spoken.start[-1] + spoken.length[-1]
    progress = np.clip((time - first) / (last - first), 0, 1)
    tones = manner.pitch + (manner.slope - 1.5) * (progress - 0.5)
    tones += manner.final * np.clip((progress - 0.68) / 0.3, 0, 1) ** 2
    middle, width = spoken.start + 0.55 * spoken.length, 0.45 * spoken.length
    height = np.array([1.0 if part.stressed else 0.15 for part in spoken.syllables])
    height = height * rng.uniform(0.8, 1.2, len(height)) * voice.accent * 2.0**manner.span
    tones += np.sum(height * np.exp(-(((time[:, None] - middle) / width) ** 2)), axis=1) - 0.3 * np.mean(height)
    tones += manner.tremor * np.sin(2 * np.pi * (6.5 * time + rng.random()))
    tones += (0.15 + 1.5 * max(manner.rough, 0)) * rng.standard_normal(len(time))
    return np.clip(voice.pitch * 2.0 ** (tones / 12), 55, 620)


def _glottis(
    pitch: np.ndarray, rough: float, breath: float, samples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Flow derivative of the glottis, and how open it is (which gates the breath noise); [samples] each.

    Made at twice the rate and cut in the frequency domain, for a pulse's closing edge is steeper than 8 kHz can hold.
    """
    fine = np.interp(np.arange(2 * samples), (np.arange(len(pitch)) + 0.5) * 2 * HOP, pitch)
    cycles = np.cumsum(fine / (2 * RATE))
    number = cycles.astype(int)
    phase = cycles - number
    share = 0.55 + 0.3 * breath  # of a period in which the glottis is open
    inside = np.minimum(phase / share, 1)
    flow = inside**2 * (1 - inside) * 6.75
    shimmer = 1 + 0.35 * rough * rng.standard_normal(number[-1] + 1)
    shimmer[::2] *= 1 - 0.6 * min(rough, 1)  # every other pulse weak: the rattle of creak
    pulses = np.where(phase < share, 2 * inside - 3 * inside**2, 0) * shimmer[number]
    spectrum = np.fft.rfft(pulses)[: samples // 2 + 1]
    return np.fft.irfft(spectrum, samples) / 2, 0.4 + 0.6 * flow[::2]


def _tract(voice: Voice, manner: Manner, spoken: Timing, time: np.ndarray, breath: float) -> np.ndarray:
    """Frequency response of the vocal tract in each frame, spectral tilt included: complex [frames, FFT/2 + 1]."""
    targets = np.array([(*VOWELS[part.vowel], 3400, 4300) for part in spoken.syllables], np.float64)
    middle = spoken.start + 0.6 * spoken.length
    formants = np.stack([np.interp(time, middle, target) for target in targets.T], axis=1)
    formants = np.minimum(formants * voice.tract * 2.0**manner.spread, 7400)
    widths = np.array([70, 90, 130, 200, 260]) * (1 + 0.8 * breath)
    frequency = np.fft.rfftfreq(FFT, 1 / RATE)
    back = np.exp(-2j * np.pi * frequency / RATE)
    radius = np.exp(-np.pi * widths / RATE)
    b, c = 2 * radius * np.cos(2 * np.pi * formants / RATE), -(radius**2)
    response = np.ones((len(time), len(frequency)), np.complex128)
    for k in range(len(widths)):
        response *= (1 - b[:, k, None] - c[k]) / (1 - b[:, k, None] * back - c[k] * back**2)
    octaves = np.log2(np.maximum(frequency, 250) / 250)
    return response * 10 ** ((voice.tilt + manner.tilt) * octaves / 20)


def _filter(signal: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Time-varying filtering by overlap-add; `response` is [frames or 1, FFT/2 + 1]."""
    frames = len(signal) // HOP
    padded = np.concatenate([np.zeros(HOP // 2), signal, np.zeros(HOP + HOP // 2)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * HOP)[::HOP][:frames]
    window = np.hanning(2 * HOP + 1)[:-1]
    pieces = np.fft.irfft(np.fft.rfft(windows * window, FFT) * response, FFT)
    blocks = -(-FFT // HOP)
    pieces = np.pad(pieces, ((0, 0), (0, blocks * HOP - FFT))).reshape(frames, blocks, HOP)
    out = np.zeros((frames + blocks, HOP))
    for block in range(blocks):
        out[block : block + frames] += pieces[:, block]
    return out.reshape(-1)[HOP // 2 :][: len(signal)]
