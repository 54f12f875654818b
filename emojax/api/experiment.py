"""The whole job: cold start, Emo-GRPO, captions of the held-out clips, one report with its floors."""

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emojax import captioning
from emojax.api import ahead, subsets
from emojax.api.progress import Bar, Track
from emojax.api.scoring import Rows, floors, name_of, records_of, reward_of_texts, scores_of
from emojax.captioning import caption_file
from emojax.config import Config, ConfigError
from emojax.corpus import source
from emojax.data.clips import Clip, read_manifest
from emojax.decoder import pretrained
from emojax.errors import Stopped
from emojax.evaluation import write_report
from emojax.evaluation.asked import Asked, Made, asked_for, made_of
from emojax.evaluation.by_clip import write_scores
from emojax.evaluation.examples import examples
from emojax.parallel import hosts
from emojax.rewards.facts import known_facts
from emojax.storage import path_of
from emojax.training import checks, executable, stages, trace
from emojax.training.features import check_features, feature_source
from emojax.training.initial import Init
from emojax.training.program import stage_steps
from emojax.training.run import RunOptions, init_of, open_run, stepped
from emojax.training.run_files import reads, require_apart
from emojax.training.stop import listening, told


@listening()
def train(
    cfg: Config,
    out: Path,
    track: Track,
    *,
    init: Init | None = None,
    resume: bool = False,
    overwrite: bool = False,
    options: RunOptions = RunOptions(),
    ablate: bool = False,
) -> None:
    """Both stages, in `out/sft` and `out/grpo`, the first from `init`. Raises as `stages.sft`.

    Args:
      ablate: what the report will be asked for, which counts for the time that is left.
    """
    source.check(cfg)
    resolved = pretrained.resolve(cfg, fetch=not resume)  # what is missing or wrong is told before a run is begun
    check_features(resolved, "sft")
    if not (resume and stepped(out)):  # a run that began has what it needs of them
        clips = read_manifest(Path(cfg.data.manifest)) if cfg.data.manifest else ()
        require_apart(out, reads(cfg) | ({"--init": str(init)} if init and path_of(init).exists() else {}), clips)
        if clips:
            _require_splits(cfg, resolved, clips)
        checks.check(resolved)
    for stage in ("sft", "grpo"):
        trace.check(options.profile, stage_steps(cfg, stage), stage)
    executable.check(options.executable, "sft", "grpo")
    open_run(out, "train", cfg, resume, overwrite, init)
    init = init_of(out)
    bar = stoppable(track("corpus", math.inf), out)
    source.manifest(cfg, lambda done, total: bar(done, total, {}))
    after = _after(resolved, ablate)
    if not stepped(out / "grpo"):  # else the cold start is done with, also where the run is made longer
        bar = track("cold start", after["cold start"])
        stages.sft(cfg, out / "sft", init=init, resume=resume, options=options, progress=bar)
    options, bar = dataclasses.replace(options, began=time.time()), track("Emo-GRPO", after["Emo-GRPO"])
    stages.grpo(cfg, out / "grpo", init=out / "sft", resume=resume, options=options, progress=bar)


def _after(resolved: Config, ablate: bool) -> dict[str, float]:
    """Of each part of the job the work that comes after it, as a multiple of its own: of the first process, which shows
    it."""
    clips = read_manifest(source.manifest(resolved)) if hosts.first() else ()
    return ahead.after(ahead.work_of(resolved, clips, ablate))


def _require_splits(cfg: Config, resolved: Config, clips: Sequence[Clip]) -> None:
    """Raises ConfigError where what is to be learnt from, or to be captioned and scored at the end, is not there."""
    for split, why in (("train", "training learns from"), ("test", "the report is of")):
        there = [clip for clip in clips if clip.split == split]
        if not any(clip.captions for clip in there):
            has = f"{len(there)} clips of it have no caption" if there else "it has none"
            raise ConfigError(
                f"{cfg.data.manifest}: {why} clips with captions whose split is {split!r}, and {has}; give some that "
                'split, or train without a report by "emojax sft" and "emojax grpo"'
            )
        feature_source(resolved, there, check_features(resolved))


def stoppable(bar: Bar, out: Path) -> Bar:
    """The bar; told that a signal came, work outside the steps ends there, to be done again by --resume."""

    def tell(done: int, total: int, numbers: dict[str, float]) -> None:
        bar(done, total, numbers)
        if told():
            raise Stopped(f"{out}: stopped as it was told to; resume with --resume")

    return tell


def report(cfg: Config, out: Path, track: Track, *, ablate: bool, began: float) -> Rows | None:
    """Captions the test clips with both stages' captioners, scores them beside the floors, writes the report.

    The first process does; the others, which get None, only help it to restore the captioners.

    Writes `captions-sft.jsonl`, `captions-grpo.jsonl`, `report.json`, `report.md`, `scores.jsonl`.

    Args:
      ablate: also caption without transcript, video and audio, and ask a linear probe what the encoders know.
      began: `time.time()` when the job began, for the report's `seconds`.
    """
    manifest = source.manifest(cfg)
    training, test = source.split(manifest, "train"), source.split(manifest, "test")
    made: dict[str, Made] = {}
    facts: dict[str, Any] = {"seed": cfg.seed}
    probed: dict[str, float] = {}
    for stage in ("sft", "grpo"):
        model = captioning.load(out / stage, cfg.data.features)
        if hosts.first():
            path, title = out / f"captions-{stage}.jsonl", f"captions {stage}"
            after = ahead.after(ahead.work_of(model.cfg, [*training, *test], ablate))
            made[stage] = _caption(model, test, path, stoppable(track(title, after[title]), out))
            if stage == "grpo" and ablate:  # the encoders of both stages are the same
                facts["subsets"] = subsets.rows(model, training, test, made[stage].captions)
                probed = subsets.probed(model, training, test)
        hosts.barrier(f"captions of {stage}")
    rows = None
    if hosts.first():
        whole = [clip for clip in test if all(clip.id in one.captions for one in made.values())]
        kept = [clip for clip in whole if clip.captions]
        reward = reward_of_texts(cfg.reward, training)
        seen = {stage: one.captions for stage, one in made.items()}
        bar = stoppable(track("evaluation"), out)
        about = {"reward_by": name_of(cfg.reward), "broken": len(test) - len(whole)}
        sets = floors(cfg, training, kept, reward) | seen
        rows, each = scores_of(cfg, sets, kept, reward, lambda done, total: bar(done, total, {}))
        rows = {name: row | about for name, row in rows.items()}
        known = known_facts(cfg.reward)
        for stage, one in made.items():
            rows[stage] |= asked_for(Asked(("calibration",)), one, kept, cfg.reward, known, None)
        for fact, right in probed.items():
            rows["grpo"]["facts"][fact]["probe"] = right
        text = examples(kept, seen, reward, known) if kept else ""
        text = f"{subsets.markdown(facts.get('subsets', {}))}Clips of `{manifest}`:\n\n{text}"
        write_report(out, rows, facts | {"seconds": time.time() - began}, text)
        write_scores(out, each)
    hosts.barrier("report")
    return rows


def _caption(model: captioning.Captioner, clips: Sequence[Clip], path: Path, bar: Bar) -> Made:
    """Greedy captions; clips whose files are broken are left out."""
    decoding = captioning.Decoding(workers=model.cfg.data.workers)
    caption_file.write(model, clips, path, decoding, progress=lambda n, total: bar(n, total, {}))
    return made_of(list(records_of(path)))
