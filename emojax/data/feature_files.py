"""Features of clips in files: what `emojax encode` writes and `data.features` reads.

A directory of safetensors files, each of some clips and whole in itself: it says in its metadata which extractors made
it, with which settings and weights, and of every clip what the media held. There is no index: files are written beside
the directory's others and renamed, so what is there is complete.

    tensors     audio/ID, video/ID: [S D], valid positions alone; none where the clip lacks the stream
    extractors  JSON: format, settings and SHA-256 of the weights by stream, versions
    clips       JSON: what is known of each clip, by its id
    broken      JSON: clips whose media cannot be decoded, by id
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emojax.config import ConfigError
from emojax.config.aliases import family_now
from emojax.data.clips import Clip
from emojax.data.container import MediaError
from emojax.storage import parse_json, refuse_pointer, replacing

FORMAT = 1
_ANEW = "delete it and run `emojax encode` again: what is missing is made anew"


@dataclass(frozen=True)
class Facts:
    """What a clip's media held when it was encoded."""

    named: tuple[str, ...]  # streams that the manifest named
    samples: int  # of sound at 16 kHz; 0: it has none
    frames: bool  # it has video
    seconds: float  # duration of the audio, by which it finds its length bucket
    digests: Mapping[str, str]  # SHA-256 of its tensors' bytes, by stream


@dataclass(frozen=True)
class Broken:
    """A clip whose media cannot be decoded."""

    path: str
    why: str
    seconds: float


@dataclass(frozen=True)
class FeatureFolder:
    """The whole directory, tensors excepted."""

    path: Path
    extractors: Mapping[str, Any]
    clips: Mapping[str, tuple[str, Facts]]  # file's name and what is known, by clip id
    broken: Mapping[str, Broken]
    next: int  # number of a file to be written


def write_features(
    folder: Path,
    number: int,
    extractors: Mapping[str, Any],
    clips: Mapping[str, Facts],
    tensors: Mapping[str, np.ndarray],
    broken: Mapping[str, Broken],
) -> None:
    """Writes one file; it is there whole or not at all. `tensors` are named "audio/ID"."""
    from safetensors.numpy import save

    about = {
        "extractors": json.dumps(extractors),
        "clips": json.dumps({name: asdict(facts) for name, facts in clips.items()}, ensure_ascii=False),
        "broken": json.dumps({name: asdict(b) for name, b in broken.items()}, ensure_ascii=False),
    }
    path = folder / f"features-{number:06}.safetensors"
    with replacing(path, "run the same command again: it goes on") as new:
        new.write_bytes(save({name: np.ascontiguousarray(x) for name, x in tensors.items()}, about))


def digest(x: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()


def open_features(folder: Path) -> FeatureFolder | None:
    """Reads every file's metadata; None where the directory has no file of features.

    Raises:
      ValueError: a file that is cut off or no such file, or two that do not belong together; says which.
    """
    extractors: dict[str, Any] = {}
    clips: dict[str, tuple[str, Facts]] = {}
    broken: dict[str, Broken] = {}
    paths = sorted(folder.glob("features-*.safetensors"))
    if strange := [path for path in paths if not re.fullmatch(r"features-\d{1,18}", path.stem)]:
        raise ValueError(f"{strange[0]}: `emojax encode` gives no such name; wanted features-NUMBER.safetensors")
    for path in paths:
        theirs, facts, failed, names = _header(path)
        if extractors and (wrong := differences(theirs, extractors)):
            raise ValueError(f"{path} differs from {paths[0].name}:\n" + "\n".join(wrong))
        extractors = extractors or theirs
        wanted = {f"{stream}/{name}" for name, known in facts.items() for stream in known.digests}
        if names != wanted:
            raise ValueError(f"{path}: its tensors are not those that it lists; {_ANEW}")
        # what is written later holds: a clip that was broken and mended, or that was given another stream
        for name, known in facts.items():
            clips[name] = path.name, known
            broken.pop(name, None)
        for name, why in failed.items():
            broken[name] = why
            clips.pop(name, None)
    if not paths:
        return None
    return FeatureFolder(folder, extractors, clips, broken, int(paths[-1].stem.split("-")[1]) + 1)


def _header(path: Path) -> tuple[dict[str, Any], dict[str, Facts], dict[str, Broken], set[str]]:
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as beginning:
        refuse_pointer(beginning.read(64), path)
    try:
        with safe_open(path, framework="np") as file:
            about, names = file.metadata() or {}, set(file.keys())
    except SafetensorError as e:
        raise ValueError(f"{path}: not a whole safetensors file ({e}); {_ANEW}") from e
    try:
        extractors, clips, broken = (
            parse_json(about[part].encode(), f"{path}: {part}", halves=True)
            for part in ("extractors", "clips", "broken")
        )
        if extractors["format"] != FORMAT:
            raise ValueError(f"{path} is of format {extractors['format']}, this emojax reads {FORMAT}; encode anew")
        for stream in extractors["streams"].values():
            stream["family"] = family_now(stream["family"])
        facts = {name: _facts(**known) for name, known in clips.items()}
        return extractors, facts, {name: _broken(**b) for name, b in broken.items()}, names
    except (KeyError, TypeError, AttributeError) as e:
        raise ValueError(f"{path}: not written by `emojax encode` ({e!r}); {_ANEW}") from e


def _facts(named: Any, samples: Any, frames: Any, seconds: Any, digests: Any) -> Facts:
    """Raises TypeError where one of them is of another type."""
    texts = [*named, *digests, *digests.values()] if isinstance(named, list) and isinstance(digests, dict) else [None]
    whole = type(samples) is int and 0 <= samples < 2**53 and isinstance(frames, bool) and _is_duration(seconds)
    if not whole or not all(isinstance(text, str) for text in texts):
        raise TypeError("facts of a clip")
    return Facts(tuple(named), samples, frames, seconds, digests)


def _broken(path: Any, why: Any, seconds: Any) -> Broken:
    """Raises TypeError where one of them is of another type."""
    if not (isinstance(path, str) and isinstance(why, str) and _is_duration(seconds)):
        raise TypeError("facts of a broken clip")
    return Broken(path, why, seconds)


def _is_duration(seconds: Any) -> bool:
    return type(seconds) in (int, float) and 0 <= seconds < 1e9


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """A line for every field of `here` that `there` has otherwise; of another family's extractor the family alone.

    Versions and the names of models tell a reader where features come from; weights are told by their hash.
    """
    lines = []
    for name in here:
        if name not in ("streams", "versions") and there.get(name) != here[name]:
            lines.append(f"  {name}: {there.get(name)!r} there, {here[name]!r} wanted")
    for stream, wanted in here["streams"].items():
        theirs = there["streams"].get(stream)
        if theirs is None:
            lines.append(f"  {stream}: no features there")
            continue
        wrong = [name for name in wanted if name != "name" and theirs.get(name) != wanted[name]]
        if "family" in wrong:
            wrong = ["family"]
        elif len(wrong) > 1:
            wrong = [name for name in wrong if name != "sha256"]  # other sizes are other weights
        lines += [f"  {stream}.{name}: {theirs.get(name)!r} there, {wanted[name]!r} wanted" for name in wrong]
    return lines


def lacks(features: FeatureFolder, clip: Clip) -> str | None:
    """What of a clip was not encoded; None: nothing, or it is recorded as broken."""
    if clip.id in features.broken:
        return None
    if clip.id not in features.clips:
        return "it"
    facts = features.clips[clip.id][1]
    named = [stream for stream in ("audio", "video") if getattr(clip, stream) is not None]
    return next((f"its {stream}" for stream in named if stream not in facts.named), None)


def check_clips(features: FeatureFolder, clips: Iterable[Clip]) -> None:
    """Raises ConfigError where clips were not encoded, or not all of their streams: how many and the first."""
    clips = list(clips)
    lacking = [(clip.id, what) for clip in clips if (what := lacks(features, clip))]
    if lacking:
        name, what = lacking[0]
        raise ConfigError(
            f"{features.path} lacks {len(lacking)} of {len(clips)} clips, the first: {name} ({what} was not encoded); "
            "run `emojax encode` with this manifest and the same --out"
        )


def facts_of(features: FeatureFolder, clip: Clip) -> Facts:
    """Raises MediaError for a clip that is recorded as broken."""
    if clip.id in features.broken:
        broken = features.broken[clip.id]
        raise MediaError(Path(broken.path), broken.why)
    return features.clips[clip.id][1]


def read_features(features: FeatureFolder, clip: Clip, stream: str, width: int) -> np.ndarray | None:
    """f32[S width]; None where the clip was encoded without the stream.

    Raises:
      ValueError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    name, facts = features.clips[clip.id]
    path = features.path / name
    if stream not in facts.digests:
        return None
    try:
        with safe_open(path, framework="np") as file:  # anew for each: what is mapped of a file counts as memory
            x = file.get_tensor(f"{stream}/{clip.id}")
    except (SafetensorError, OSError) as e:
        raise ValueError(f"{path}: cannot be read any more ({e}); {_ANEW}") from e
    if digest(x) != facts.digests[stream] or x.ndim != 2 or x.shape[1] != width:
        raise ValueError(f"{path}: the {stream} features of clip {clip.id!r} are not those that were written; {_ANEW}")
    return x.astype(np.float32)
