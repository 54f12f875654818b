"""A run's directory made by hand: metrics, samples, sessions, captions with their scores; nothing is trained."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emojax.config import Reward, presets
from emojax.config.concepts import ATTRIBUTES
from emojax.data.clips import Clip
from emojax.evaluation import write_report
from emojax.evaluation.by_clip import scored, write_scores
from emojax.evaluation.report import evaluate_clips
from emojax.rewards.facts import known_facts

ABOUT = known_facts(Reward(attributes=ATTRIBUTES))
EMOTIONS = ("sad", "happy", "angry")
SFT = ("loss", "words_loss", "entropy", "grad_norm", "learning_rate", "eval_greedy_reward")
GRPO = (
    "reward",
    "reward_emotion",
    "reward_facts",
    "reward_age_right",
    "reward_age_stated",
    "kl",
    "length",
    "reward_x_loss",
    "odd<i>",
)


def clips(count: int, seed: int = 0) -> list[Clip]:
    r = np.random.default_rng(seed)
    return [
        Clip(
            f"clip-{n}",
            transcript="so",
            captions=(f"A {EMOTIONS[n % 3]} woman speaks.", "Someone speaks"),
            emotion=EMOTIONS[n % 3],
            speaker=f"s{n % 4}",
            seconds=float(r.uniform(0.5, 4)),
            attributes={"gender": "woman"},
            captions_of={"audio": (f"It sounds {EMOTIONS[n % 3]}.",), "video": ("It looks happy.",)},
        )
        for n in range(count)
    ]


def captions(known: Sequence[Clip], right: float, seed: int) -> dict[str, str]:
    """That name the label as often as told."""
    r = np.random.default_rng(seed)
    named = [clip.emotion if r.random() < right else str(r.choice(EMOTIONS)) for clip in known]
    return {clip.id: f"A {name} woman speaks." for clip, name in zip(known, named, strict=True)}


def places(texts: Sequence[str]) -> np.ndarray:
    """One direction an emotion, and something of the text's own."""
    own = [[3.0 * (emotion in text) for emotion in EMOTIONS] + [len(text) / 50] for text in texts]
    return np.array(own, np.float32)


def reward(texts: Sequence[str], known: Sequence[Clip]) -> dict[str, np.ndarray]:
    near = np.linalg.norm(places(texts) - places([clip.captions[0] for clip in known]), axis=1)
    return {"reward": 1 - near, "emotion": 1 - near / 2}


def metrics(names: Sequence[str], steps: int, seed: int) -> list[dict[str, Any]]:
    """A number in each step, of an evaluation in every fifth; one is none, as a step's that was not finite."""
    r = np.random.default_rng(seed)
    lines = [
        {"step": s, **{m: float(abs(r.normal())) for m in names if not m.startswith("eval_") or s % 5 == 0}}
        for s in range(1, steps + 1)
    ]
    lines[steps // 2][names[0]] = None
    return lines


def write_stage(folder: Path, stage: str, lines: Sequence[Mapping[str, Any]], samples: Sequence[Any] = ()) -> None:
    folder.mkdir(parents=True)
    session = {"command": "emojax demo --out <b>", "versions": {"jax": "1.2"}, "step": 0}
    (folder / "run.json").write_text(json.dumps({"stage": stage, "sessions": [session]}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    marks = [{"session": 1, "at": 10.0, "step": 0, "spent": {}}]
    marks += [{"session": 1, "at": 40.0, "step": len(lines), "spent": {"step": 20.0, "compile": 5.0}}]
    (folder / "sessions.jsonl").write_text("".join(json.dumps(mark) + "\n" for mark in marks))
    if samples:
        (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in samples))


def write_run(folder: Path, known: Sequence[Clip], sets: Mapping[str, Mapping[str, str]], seed: int = 0) -> Path:
    """A run of both stages that was evaluated; without `sets` one that still goes on."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"stage": "train"}')
    cfg = presets.load("tiny", [f"seed={seed}", "steps=12", "sft_steps=230"])
    (folder / "config.json").write_text(presets.dumps(cfg))
    said = [{"id": "clip-0", "caption": "A <i>sad</i> man", "reward": 0.25}]
    write_stage(folder / "sft", "sft", metrics(SFT, 230, seed))
    write_stage(folder / "grpo", "grpo", metrics(GRPO, 12, seed + 1), [{"step": 10, "captions": said}])
    if sets:
        found = {name: evaluate_clips(own, known, reward, ABOUT) for name, own in sets.items()}
        write_report(folder, {name: row for name, (row, _) in found.items()}, {"seed": seed})
        write_scores(folder, scored(known, sets, {name: each for name, (_, each) in found.items()}, places, ABOUT))
    return folder


def finite(value: Any) -> bool:
    return isinstance(value, float | int) and math.isfinite(value)
