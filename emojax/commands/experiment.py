"""The whole job: cold start, Emo-GRPO, captions of the held-out clips, one report with its floors."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emojax import captioning, rewards
from emojax.captioning import caption_file
from emojax.config import Config
from emojax.corpus import source
from emojax.data.clips import Clip, read_manifest
from emojax.data.text import train_tokenizer
from emojax.decoder import pretrained
from emojax.errors import shown
from emojax.evaluate import best_constant, emotion_accuracy, evaluate, nearest_captions, table, write_report
from emojax.parallel import hosts
from emojax.rewards.facts import known_facts
from emojax.storage import parse_json
from emojax.training import checks, executable, stages, trace
from emojax.training.features import check_features
from emojax.training.program import stage_steps
from emojax.training.run import RunOptions, open_run
from emojax.training.run_files import reads, require_apart
from emojax.training.stop import listening

if TYPE_CHECKING:
    from rich.console import Group

Track = Callable[[str], Callable[[int, int, dict[str, float]], None]]
"""Opens a progress bar by its title; the bar is told (done, total, numbers to show)."""


@listening()
def train(
    cfg: Config,
    out: Path,
    track: Track,
    *,
    resume: bool = False,
    overwrite: bool = False,
    options: RunOptions = RunOptions(),
) -> None:
    """Both stages, in `out/sft` and `out/grpo`. Raises as `stages.sft`."""
    source.check(cfg)
    resolved = pretrained.resolve(cfg, fetch=not resume)  # what is missing or wrong is told before a run is begun
    check_features(resolved, "sft")
    if not (resume and (out / "config.json").exists()):  # a run that began has what it needs of them
        require_apart(out, reads(cfg), read_manifest(Path(cfg.data.manifest)) if cfg.data.manifest else ())
        checks.check(resolved)
    for stage in ("sft", "grpo"):
        trace.check(options.profile, stage_steps(cfg, stage), stage)
    executable.check(options.executable, "sft", "grpo")
    open_run(out, "train", cfg, resume, overwrite)
    bar = track("corpus")
    source.manifest(cfg, lambda done, total: bar(done, total, {}))
    stages.sft(cfg, out / "sft", resume=resume, options=options, progress=track("cold start"))
    options = dataclasses.replace(options, began=time.time())
    stages.grpo(cfg, out / "grpo", init=out / "sft", resume=resume, options=options, progress=track("Emo-GRPO"))


def reward_of_texts(cfg: Config, tokenizer: Any, training: Sequence[Clip]) -> Callable[..., Mapping[str, Any]]:
    """(captions, clips) -> scores, of strings, as `emojax.evaluate` wants it."""
    judge = rewards.make_reader(cfg.reward, tokenizer, end=cfg.model.decoder.end_token, training=training)
    return functools.partial(rewards.score_texts, *rewards.build(judge), judge)


def report(cfg: Config, out: Path, track: Track, *, ablate: bool, began: float) -> "Group | None":
    """Captions the test clips with both stages' captioners, scores them beside the floors, writes the report.

    The first process does; the others, which get None, only help it to restore the captioners.

    Writes `captions-sft.jsonl`, `captions-grpo.jsonl`, `report.json`, `report.md`.

    Args:
      ablate: also caption without video and without audio, for the emotion accuracy of each.
      began: `time.time()` when the job began, for the report's `seconds`.
    """
    manifest = source.manifest(cfg)
    training, test = source.split(manifest, "train"), source.split(manifest, "test")
    captions: dict[str, dict[str, str]] = {}
    facts: dict[str, Any] = {"seed": cfg.seed}
    for stage in ("sft", "grpo"):
        model = captioning.load(out / stage, cfg.data.features)
        if hosts.first():
            path = out / f"captions-{stage}.jsonl"
            captions[stage] = _caption(model, test, path, track(f"captions {stage}"))
            if stage == "grpo" and ablate:
                facts["ablations"] = _ablate(model, cfg, test, captions[stage])
        hosts.barrier(f"captions of {stage}")
    rows = None
    if hosts.first():
        reward = reward_of_texts(cfg, model.tokenizer, training)
        test = [clip for clip in test if clip.captions and all(clip.id in found for found in captions.values())]
        captions = floors(cfg, training, test, reward) | captions
        rows = _evaluate(cfg, captions, test, reward, track("evaluation"))
        write_report(out, rows, facts | {"seconds": time.time() - began}, _examples(test, captions))
    hosts.barrier("report")
    return None if rows is None else table(rows)


def _evaluate(
    cfg: Config, captions: Mapping[str, Mapping[str, str]], test: Sequence[Clip], reward: Any, bar: Any
) -> dict[str, dict[str, Any]]:
    rows, about = {}, known_facts(cfg.reward)
    for n, (name, found) in enumerate(captions.items(), 1):
        rows[name] = evaluate(found, test, reward, about)
        bar(n, len(captions), {})
    return rows


def floors(cfg: Config, training: Sequence[Clip], test: Sequence[Clip], reward: Any) -> dict[str, dict[str, str]]:
    """Captions of the test clips that were not made by understanding them: the best constant, the nearest clip's."""
    constant, _ = best_constant(training, reward)
    return {
        "constant": {clip.id: constant for clip in test},
        "nearest": nearest_captions(training, test, cfg.data),
    }


def score(cfg: Config, captions: Path, manifest: Path, split: str, train_split: str) -> dict[str, dict[str, Any]]:
    """The rows of `emojax evaluate`: the captions of a file, and the floors made of `train_split`.

    Raises:
      ConfigError: a split without clips. ValueError: clips without a caption, all listed; a line that is no record.
    """
    training, test = source.split(manifest, train_split), source.split(manifest, split)
    reward = reward_of_texts(cfg, train_tokenizer(source.texts(training), cfg.model.decoder.vocab), training)
    found = captions_of(captions)
    rows = floors(cfg, training, test, reward) | {captions.stem: found}
    about = known_facts(cfg.reward)
    return {name: evaluate(each, test, reward, about) for name, each in rows.items()}


def captions_of(path: Path) -> dict[str, str]:
    """The captions of a JSONL file by clip id, as `emojax caption` writes them; records of broken files have none.

    Raises:
      ValueError: a line that is no such record.
    """
    found = {}
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        what = f"{path}: line {number}"
        record = parse_json(line, what, halves=True)
        told = [record.get(name) for name in ("id", "caption")] if isinstance(record, dict) else [None]
        if all(isinstance(text, str) for text in told):
            found[told[0]] = told[1]
        elif not (isinstance(record, dict) and "error" in record and "caption" not in record):
            raise ValueError(f'{what}: wanted an object with "id" and "caption" (or "error"), got {shown(record)}')
    return found


def _caption(model: captioning.Captioner, clips: Sequence[Clip], path: Path, bar: Any) -> dict[str, str]:
    """Greedy captions by clip id; clips whose files are broken are left out."""
    caption_file.write(model, clips, path, progress=lambda n, total: bar(n, total, {}))
    return captions_of(path)


def _ablate(
    model: captioning.Captioner, cfg: Config, clips: Sequence[Clip], both: Mapping[str, str]
) -> dict[str, float | None]:
    """Emotion accuracy when the one model is given one stream or both."""

    def accuracy(found: Mapping[str, str]) -> float | None:
        named = [clip for clip in clips if clip.id in found]
        return emotion_accuracy([found[c.id] for c in named], [c.emotion for c in named], cfg.reward.concepts)

    result = {}
    for stream, other in (("audio", "video"), ("video", "audio")):
        records = model.records([dataclasses.replace(clip, **{other: None}) for clip in clips])
        result[stream] = accuracy({r["id"]: r["caption"] for r in records if "caption" in r})
    return result | {"audio_video": accuracy(both)}


def _examples(clips: Sequence[Clip], captions: Mapping[str, Mapping[str, str]], most: int = 5) -> str:
    """A few clips' captions under each other, Markdown."""
    lines = ["## Captions side by side", ""]
    for clip in clips[:: max(1, len(clips) // most)][:most]:
        lines += [f"**{clip.id}** ({clip.emotion})" if clip.emotion else f"**{clip.id}**", ""]
        lines += [f"- reference: {clip.captions[0]}"]
        lines += [f"- {name}: {captions[name][clip.id]}" for name in ("sft", "grpo")]
        lines += [""]
    return "\n".join(lines)
