"""rank: which of several captioners is preferred, and how sure that is."""

import json
import sys
from pathlib import Path

import tyro

from emojax.commands.train import Set
from emojax.config import ConfigError


def rank(
    files: tyro.conf.Positional[tuple[Path, ...]],
    manifest: Path | None = None,
    split: str = "test",
    config: str | None = None,
    set_: Set = (),
    resamples: int = 1000,
    seed: int = 0,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Rank captioners by pairwise preferences (Bradley-Terry), with intervals by resampling the clips.

    Args:
        files: one JSONL file of preferences, {"id": "clip-1", "pair": ["a", "b"], "preferred": "a"} (null: a tie); or,
            with --manifest, several files of captions: of each clip that of the higher reward is preferred.
        manifest: with the reference captions.
        split: of it that was captioned.
        config: preset or file whose `reward` decides; without it that of the first file of captions.
        resamples: of the clips, for the intervals.
        seed: of those.
        out: JSON file to write.
        overwrite: replace `out`.
    """
    from dataclasses import asdict

    from rich.console import Console

    from emojax.api import preferences
    from emojax.errors import RunError
    from emojax.evaluation import ranking
    from emojax.evaluation.report import on_screen
    from emojax.storage import write_atomically

    if (manifest is None) != (len(files) == 1):
        raise ConfigError(
            f"got {len(files)} files {'with' if manifest else 'without'} --manifest: give one file of preferences, or "
            "several of captions and their --manifest"
        )
    if out is not None and out.exists() and not overwrite:
        raise RunError(f"{out} exists; replace it by --overwrite, or name another file by --out")
    if manifest is None:
        found = preferences.read(files[0])
    else:
        found = preferences.by_reward(files, manifest, split, config, set_)
    ranked = ranking.rank(found, resamples, seed)
    if out is not None:
        write_atomically(out, json.dumps([asdict(one) for one in ranked], indent=2, ensure_ascii=False) + "\n")
    clips = len({one.id for one in found})
    told = f"{len(found)} preferences of {clips} clips. Strength: log-odds; 95 % of resamples of the clips."
    Console(width=None if sys.stdout.isatty() else 140).print(on_screen(ranking.lines(ranked), told))
