"""Pairs that DPO learns from: a caption that is chosen, and one or more of the same clip that are rejected.

They are the manifest's, or those of a file that names its clips, a line a pair; or they are made of the scored samples
of a run, of each group the best against the worst:

    {"id": "a1", "chosen": "He is angry.", "rejected": "He is happy."}       rejected: also a list
    {"step": 20, "captions": [{"id": "a1", "caption": "...", "reward": 0.4}, ...]}       a line of samples.jsonl
"""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from emojax.config import ConfigError, Dpo
from emojax.data.clip import Clip
from emojax.data.clip_fields import visible
from emojax.errors import shown
from emojax.storage import parse_json, path_of

log = logging.getLogger(__name__)
_SAMPLES = ("samples.jsonl", "grpo/samples.jsonl")  # of a run, of one of both stages


class Pair(NamedTuple):
    where: str  # for messages
    id: str
    chosen: str
    rejected: tuple[str, ...]


def paired(clips: Sequence[Clip], dpo: Dpo) -> list[Clip]:
    """A clip a pair, whose captions are the chosen one and then those that are rejected. Pairs that are there twice
    teach once; those of other clips, of another split say, are left out and counted.

    Raises:
      ConfigError: a file that is no file of pairs, a pair that is none, or none of these clips.
    """
    found = list({pair[1:]: pair for pair in (_read(dpo) if dpo.pairs else _of_clips(clips))}.values())
    by_id = {clip.id: clip for clip in clips}
    known = [_checked(pair, dpo) for pair in found if pair.id in by_id]
    of = dpo.pairs or "the manifest"
    if not known:
        what = f"{len(found)} pairs, none of a training clip: the first is of {found[0].id!r}" if found else "no pairs"
        raise ConfigError(
            f'DPO wants pairs, and {of} has {what}; give clips "chosen" and "rejected" in the manifest, or name a file '
            "of pairs or a run of Emo-GRPO by dpo.pairs"
        )
    log.info("%d pairs of %s; of clips that do not train: %d", len(known), of, len(found) - len(known))
    return [replace(by_id[pair.id], captions=(pair.chosen, *pair.rejected)) for pair in known]


def _of_clips(clips: Sequence[Clip]) -> Iterator[Pair]:
    for clip in clips:
        where = f"clip {clip.id!r} of the manifest"
        if clip.chosen is not None and clip.rejected:
            yield Pair(where, clip.id, clip.chosen, clip.rejected)
        elif clip.chosen is not None or clip.rejected:
            there, lacks = ("chosen", "rejected") if clip.chosen is not None else ("rejected", "chosen")
            raise ConfigError(f'{where} has "{there}" and no "{lacks}"; a pair is both')


def _read(dpo: Dpo) -> Iterator[Pair]:
    named = path_of(dpo.pairs)
    files = [named / name for name in _SAMPLES] if named.is_dir() else [named]
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        wanted = "a run with samples.jsonl, as Emo-GRPO writes it" if named.is_dir() else "a file of pairs, or a run"
        raise ConfigError(f"dpo.pairs={dpo.pairs}: wanted {wanted}; there is none")
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            yield from _line(line, f"{path}, line {number}", dpo)


def _line(line: bytes, where: str, dpo: Dpo) -> Iterator[Pair]:
    try:
        record = parse_json(line, where)
    except ValueError as e:
        raise ConfigError(str(e)) from None
    if not isinstance(record, dict) or not ("captions" in record or {"chosen", "rejected"} <= record.keys()):
        raise ConfigError(f'{where}: wanted {{"id": ..., "chosen": ..., "rejected": ...}}, got {shown(record)}')
    if "captions" in record:
        yield from _best_against_worst(record["captions"], where, dpo.margin)
        return
    if dpo.margin:
        raise ConfigError(f"dpo.margin={dpo.margin} does nothing with {dpo.pairs}: its pairs have no rewards")
    rejected = record["rejected"] if isinstance(record["rejected"], list) else [record["rejected"]]
    for name, value in (("id", record.get("id")), ("chosen", record["chosen"]), *(("rejected", r) for r in rejected)):
        if not isinstance(value, str) or not visible(value):
            raise ConfigError(f'{where}: "{name}" must be a text, got {shown(value)}')
    yield Pair(where, record["id"], record["chosen"], tuple(rejected))


def _best_against_worst(captions: Any, where: str, margin: float) -> Iterator[Pair]:
    """Of one clip's samples, where their rewards and words differ; what the reward could not score (null) is left
    out, and so is an empty caption."""
    try:
        scored = [(c["reward"], c["caption"], c["id"]) for c in captions if c["reward"] is not None]
        ((best, chosen, name), (worst, rejected, _)) = max(scored), min(scored)
        apart = float(best - worst)
    except ValueError:  # nothing is scored
        return
    except (TypeError, KeyError):
        raise ConfigError(
            f'{where}: wanted samples of a run, each {{"id": ..., "caption": ..., "reward": ...}}, '
            f"got {shown(captions)}"
        ) from None
    if math.isfinite(apart) and 0 < apart >= margin and chosen != rejected and visible(chosen) and visible(rejected):
        yield Pair(where, name, chosen, (rejected,))


def _checked(pair: Pair, dpo: Dpo) -> Pair:
    if pair.chosen in pair.rejected:
        raise ConfigError(f"{pair.where}: the chosen caption is rejected, too: {shown(pair.chosen)}")
    if not 0 < len(pair.rejected) <= dpo.rejected:
        more = f"; set dpo.rejected={len(pair.rejected)}" if pair.rejected else ""
        raise ConfigError(
            f"{pair.where}: wanted 1 to dpo.rejected={dpo.rejected} captions, got {len(pair.rejected)}{more}"
        )
    return pair
