"""Preferences between captioners: as a file has them, or by the reward of their captions."""

from collections.abc import Sequence
from pathlib import Path

from emojax.api.scoring import captions_of, reward_of_texts, settings_config
from emojax.config import ConfigError, presets
from emojax.data.clips import read_manifest
from emojax.errors import shown
from emojax.evaluation.ranking import Preference, by_score
from emojax.storage import json_lines


def read(path: Path) -> list[Preference]:
    """The preferences of a JSONL file; a line without an `id` is of a clip of its own.

    Raises:
      ValueError: a line that is none.
    """
    found = []
    for number, (what, record) in enumerate(json_lines(path), 1):
        match record:
            case {"pair": [str(a), str(b)], "preferred": preferred} if a != b and preferred in (a, b, None):
                found.append(Preference(str(record.get("id", f"line {number}")), (a, b), preferred))
            case _:
                raise ValueError(
                    f'{what}: wanted {{"id": "clip", "pair": ["a", "b"], "preferred": "a"}}, the preferred one null or '
                    f"one of two different names, got {shown(record)}"
                )
    return found


def by_reward(
    files: Sequence[Path], manifest: Path, split: str, config: str | None, overrides: Sequence[str]
) -> list[Preference]:
    """Of each clip and each two files the caption of the higher reward; the files are called by their names.

    Raises:
      ConfigError: two files of one name.
    """
    names = [path.stem for path in files]
    if len(set(names)) < len(names):
        raise ConfigError(f"files are called by their names, and of {names} two are the same: rename one")
    cfg = presets.load(config or "demo")
    cfg = presets.override((config is None and settings_config(files[0])) or cfg, overrides)
    clips = [clip for clip in read_manifest(manifest, split) if clip.captions]
    reward, scores = reward_of_texts(cfg.reward, clips), {}
    for name, path in zip(names, files, strict=True):
        captions = captions_of(path)
        there = [clip for clip in clips if clip.id in captions]
        if not there:
            raise ConfigError(f"{path} has no caption of a clip of {manifest}, split {split!r}")
        found = reward([captions[clip.id] for clip in there], there)["reward"]
        scores[name] = {clip.id: float(x) for clip, x in zip(there, found, strict=True)}
    return by_score(scores)
