"""The built-in corpus: real WAV and MP4 files of people who never were, made from a seed.

Every clip shows one of seven emotions at an intensity, spoken in a style. In half of the clips voice and face both
tell the emotion; in a quarter only the voice does (the face is at rest, or there is no film), in another quarter only
the face (the voice is plain). So whoever sees and hears knows more than who does either. Splits share no speaker.

The corpus is planned first (`describe`: captions and all, no media), then rendered clip by clip (`make_corpus`), each
clip from its own stream of random numbers, so that the files do not depend on how many processes made them.
"""

import dataclasses
import io
import json
import multiprocessing
import random
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from emojax import storage
from emojax.config import ConfigError, Corpus
from emojax.config.concepts import CONCEPTS
from emojax.corpus import captions, face, voice, wording
from emojax.corpus.speakers import SPLITS, Speaker, make_speakers

FORMAT = 4  # raised whenever the same corpus and seed come to give other files
TOLD = ("voice", "face", "both", "both")  # what tells the emotion, in equal shares
STRENGTH = {"none": 0.0, "slight": 0.7, "moderate": 1.1, "strong": 1.8}  # of an emotion's effect, by intensity
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Plan:
    """One clip before it is rendered."""

    number: int
    speaker: Speaker
    scene: captions.Scene
    transcript: str
    captions: tuple[str, ...]
    captions_of: dict[str, tuple[str, ...]]  # of one stream alone
    manner: voice.Manner
    timing: voice.Timing

    @property
    def name(self) -> str:
        return f"clip-{self.number:05}"

    @property
    def seconds(self) -> float:
        return self.timing.frames * voice.HOP / voice.RATE


def make_corpus(
    out: Path, corpus: Corpus, processes: int = 2, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Makes the corpus in the folder `out` and returns the path of its manifest.

    The folder holds `manifest.jsonl`, `facts.jsonl` (what the manifest does not say: what tells the emotion),
    `corpus.json` and `media/`. It appears under its name only when complete; the same corpus found there is reused.
    `progress` is told (clips done, all clips).

    Raises:
      FileExistsError: `out` holds anything else.
      ConfigError: `corpus` cannot be made.
    """
    out = Path(out)
    spec = json.dumps({"format": FORMAT, "seed": corpus.seed, **dataclasses.asdict(corpus)}) + "\n"
    if _holds(out, spec):
        return out / "manifest.jsonl"
    plans = _plan(corpus)
    making = storage.beside(out)
    with storage.writing(out):
        (making / "media").mkdir(parents=True)
    try:
        jobs = [(plan, corpus, making / "media") for plan in plans]
        for done, _ in enumerate(_map(_render, jobs, processes), start=1):
            if progress:
                progress(done, len(plans))
        with storage.writing(out):
            _write_lines(making / "manifest.jsonl", map(_record, plans))
            _write_lines(making / "facts.jsonl", map(_facts, plans))
            (making / "corpus.json").write_text(spec)
            if not _holds(out, spec):  # or another process was faster
                making.replace(out)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return out / "manifest.jsonl"


def describe(corpus: Corpus) -> list[dict[str, Any]]:
    """The records of the manifest that `make_corpus` would write, without making any media."""
    return [_record(plan) for plan in _plan(corpus)]


def _holds(out: Path, spec: str) -> bool:
    """Whether `out` is this corpus, complete; False where it is free; FileExistsError where it is something else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    mark = out / "corpus.json"
    found = mark.read_text() if mark.is_file() else "no corpus of ours"
    if found == spec:
        return True
    raise FileExistsError(
        f"{out} holds {found.strip()}, wanted {spec.strip()}: name another folder, or remove this one first"
    )


def _plan(corpus: Corpus) -> list[Plan]:
    """The clips in the order of the manifest: split by split, shuffled within."""
    if corpus.speakers < len(SPLITS) or corpus.clips < corpus.speakers:
        raise ConfigError(
            f"data.corpus: got clips={corpus.clips}, speakers={corpus.speakers}, wanted {len(SPLITS)} speakers or more "
            "(one a split) and a clip of each or more; set data.corpus.speakers and data.corpus.clips"
        )
    if corpus.frame_size < 16 or corpus.frame_size % 2 or corpus.fps < 1 or corpus.seconds < 0.5:
        raise ConfigError(
            f"data.corpus: got frame_size={corpus.frame_size}, fps={corpus.fps}, seconds={corpus.seconds}, wanted an "
            "even frame size of 16 or more, 1 frame a second or more and clips of 0.5 seconds or more"
        )
    people = make_speakers(corpus.speakers, corpus.seed)
    plans: list[Plan] = []
    for split in SPLITS:
        rng = random.Random(f"{corpus.seed}/{split}")
        here = [speaker for speaker in people if speaker.split == split]
        # rounded cumulatively, so that the splits add up to the corpus
        count = round(corpus.clips * (people.index(here[-1]) + 1) / corpus.speakers) - len(plans)
        emotions = _deal([concept.name for concept in CONCEPTS], count, rng)
        scenes = {emotion: _scenes(emotion, emotions.count(emotion), here, rng) for emotion in dict.fromkeys(emotions)}
        for emotion in emotions:
            speaker, scene = next(scenes[emotion])
            plans.append(_clip(len(plans), speaker, scene, corpus))
    return plans


def _deal(values: Sequence[T], count: int, rng: random.Random) -> list[T]:
    """`count` of the values in random order, each as often as any other, give or take one."""
    dealt = [value for _ in range(-(-count // len(values))) for value in rng.sample(values, len(values))]
    return rng.sample(dealt[:count], count)


def _scenes(
    emotion: str, count: int, people: Sequence[Speaker], rng: random.Random
) -> Iterator[tuple[Speaker, captions.Scene]]:
    """The scenes of an emotion, its speakers, intensities, styles and what tells it all balanced."""
    told = _deal(TOLD, count, rng)
    filmed = iter(_deal((True, False), told.count("voice"), rng))
    intensities = _deal(wording.INTENSITIES, count, rng)
    styles = _deal(tuple(voice.STYLES), count, rng)
    for speaker, stream, intensity, style in zip(_deal(people, count, rng), told, intensities, styles, strict=True):
        yield (
            speaker,
            captions.Scene(
                emotion=emotion,
                intensity="none" if emotion == "neutral" else intensity,
                style=style,
                told=stream,
                filmed=next(filmed) if stream == "voice" else True,
                gender=speaker.gender,
                age=speaker.age,
                timbre=speaker.timbre,
            ),
        )


def _clip(number: int, speaker: Speaker, scene: captions.Scene, corpus: Corpus) -> Plan:
    rng = random.Random(f"{corpus.seed}/clip/{number}")
    text = wording.transcript(rng)
    strength = 0.0 if scene.told == "face" else STRENGTH[scene.intensity]
    manner = voice.combine((strength, voice.EMOTIONS[scene.emotion]), (1.0, voice.STYLES[scene.style or "plain"]))
    timing = voice.timing(text, speaker.voice, manner, corpus.seconds)
    whole, partial = captions.captions(scene, rng), captions.partial_captions(scene, rng)
    return Plan(number, speaker, scene, text, whole, partial, manner, timing)


def _record(plan: Plan) -> dict[str, Any]:
    return {
        "id": plan.name,
        "audio": f"media/{plan.name}.wav",
        **({"video": f"media/{plan.name}.mp4"} if plan.scene.filmed else {}),
        "transcript": plan.transcript,
        "captions": list(plan.captions),
        "captions_of": {stream: list(found) for stream, found in plan.captions_of.items()},
        "emotion": plan.scene.emotion,
        "attributes": _attributes(plan.scene),
        "speaker": plan.speaker.name,
        "split": plan.speaker.split,
        "language": "en",
        "seconds": plan.seconds,
    }


def _attributes(scene: captions.Scene) -> dict[str, str]:
    """What a caption may state of the clip besides the emotion; a feeling that is not there has no intensity."""
    names = ("gender", "age", "timbre", "style", *(("intensity",) if scene.intensity != "none" else ()))
    return {name: getattr(scene, name) for name in names}


def _facts(plan: Plan) -> dict[str, Any]:
    return {"id": plan.name, **dataclasses.asdict(plan.scene)}


def _write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _map(function: Callable[[T], None], jobs: list[T], processes: int) -> Iterator[None]:
    """`function` of every job, in this process or in several; yields as each is done."""
    if processes <= 1:
        yield from map(function, jobs)
        return
    done, spawn, ignore = 0, multiprocessing.get_context("spawn"), (signal.SIGINT, signal.SIG_IGN)
    try:
        with ProcessPoolExecutor(processes, spawn, signal.signal, ignore) as pool:  # Ctrl-C is for the parent to answer
            for _ in pool.map(function, jobs, chunksize=4):
                done += 1
                yield
    except BrokenProcessPool:  # a script without `if __name__ == "__main__":` cannot start any
        yield from map(function, jobs[done:])


def _render(job: tuple[Plan, Corpus, Path]) -> None:
    import soundfile

    plan, corpus, media = job
    rng = np.random.default_rng([corpus.seed, 2, plan.number])
    sound = voice.speak(plan.speaker.voice, plan.manner, plan.timing, rng)
    # libraries that write files hide why they could not, or that they could not. Bytes are taken, not a buffer of them:
    # one that an error's traceback still holds ends Python 3.12.1 when it is collected (python/cpython#111049)
    wav = io.BytesIO()
    soundfile.write(wav, sound, voice.RATE, format="WAV", subtype="PCM_16")
    _write(media / f"{plan.name}.wav", wav.getvalue())
    if plan.scene.filmed:
        times = np.arange(max(round(plan.seconds * corpus.fps), 1)) / corpus.fps
        strength = 0.0 if plan.scene.told == "voice" else STRENGTH[plan.scene.intensity]
        actions = face.act(plan.speaker.face, plan.scene.emotion, strength, times, rng)
        frames = face.draw(plan.speaker.face, actions, voice.opening(plan.timing, times), corpus.frame_size, rng)
        mp4 = io.BytesIO()
        _encode_video(mp4, frames, corpus.fps)
        _write(media / f"{plan.name}.mp4", mp4.getvalue())


def _write(path: Path, content: bytes) -> None:
    with storage.writing(path):
        path.write_bytes(content)


def _encode_video(file: BinaryIO, frames: np.ndarray, fps: int) -> None:
    """MPEG-4 Part 2, which every build of FFmpeg encodes, in one thread, so that the bytes are always the same."""
    import av

    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=fps, options={"qmin": "2", "qmax": "4", "threads": "1"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
