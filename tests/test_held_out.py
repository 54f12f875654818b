"""Held-out clips while training goes on: their metrics are those of captions made by hand, the best step by them is
kept, a stage ends when they no longer improve, and a resumed run knows it."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from emojax import rewards
from emojax.config import ConfigError, presets
from emojax.decoder.captioner import Params, sample
from emojax.decoder.sample import Drawing
from emojax.training import checkpoint, held_out, stages
from emojax.training.held_out import HeldOut
from emojax.training.job import Job, silent
from support import made_up, small_loop

CFG = made_up.config(eval_every=2)


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_the_metrics_are_those_of_captions_made_by_hand() -> None:
    program = made_up.grpo(CFG, shipped_reward=True)
    model, static = made_up.reward_model(CFG)
    batches = (made_up.batch(CFG, seed=1), made_up.batch(CFG, seed=2))
    key = jax.random.key(3)
    evaluation = HeldOut(CFG, 8, batches, model, static, program.mesh, key)
    frozen = made_up.frozen(program, CFG, model)
    params = made_up.params(CFG).decoder
    with jax.set_mesh(program.mesh):
        found = evaluation(params, frozen)
    draw = jax.jit(sample, static_argnames=("cfg", "group"))
    score = jax.jit(rewards.score, static_argnums=1)
    rewarded, lengths, written = [], [], set()
    for batch in batches:
        _, out = draw(Params(frozen.encoders, params), batch, key, cfg=CFG, group=1, how=Drawing(None))
        total, _ = score(model, static, out.ids, out.mask, batch.references)
        rewarded += np.asarray(total).ravel().tolist()
        lengths += np.asarray(out.mask).sum(-1).ravel().tolist()
        written |= set(np.asarray(out.ids)[np.asarray(out.mask)].tolist())
    assert found["eval_greedy_reward"] == pytest.approx(np.nanmean(rewarded), abs=1e-5)
    assert found["eval_greedy_length"] == pytest.approx(np.mean(lengths))
    assert found["eval_greedy_vocabulary"] == len(written)
    assert found["eval_sampled_reward"] != found["eval_greedy_reward"]
    mix = 0.5 * (found["eval_sampled_reward_emotion"] + found["eval_sampled_reward_sentence"])
    assert found["eval_sampled_reward"] == pytest.approx(mix, abs=1e-5)
    assert 0 < found["eval_sampled_distinct2"] <= 1


class Scripted:
    """An evaluation that says what it is told to, every second step."""

    def __init__(self, said: Sequence[float]) -> None:
        self.said, self.asked = said, 0

    def due(self, step: int, steps: int) -> bool:
        return step % 2 == 0

    def __call__(self, params: dict, frozen: jax.Array) -> dict[str, float]:
        self.asked += 1
        return {"eval_greedy_reward": self.said[self.asked - 1]}


BY = ("eval_every=2", "checkpoint_every=2", "keep=1", "keep_best=1", "keep_best_by=eval_greedy_reward")


def test_it_is_in_the_log_and_the_best_step_by_it_is_kept(tmp_path: Path) -> None:
    small_loop.run(tmp_path, settings=BY, steps=8, held_out=Scripted([0.1, 0.7, 0.2, 0.3]))
    told = {line["step"]: line.get("eval_greedy_reward") for line in lines(tmp_path)}
    assert told == {1: None, 2: 0.1, 3: None, 4: 0.7, 5: None, 6: 0.2, 7: None, 8: 0.3}
    assert checkpoint.steps(tmp_path) == [4, 8], "the last, and the best by the evaluation"


def test_less_is_better_with_a_minus(tmp_path: Path) -> None:
    by = (*BY[:-1], "keep_best_by=-eval_greedy_reward")
    small_loop.run(tmp_path, settings=by, steps=8, held_out=Scripted([0.1, 0.05, 0.2, 0.3]))
    assert checkpoint.steps(tmp_path) == [4, 8]
    assert checkpoint.score({"loss": 2.0}) == -2
    assert checkpoint.score({"loss": 2.0, "reward": 0.5}) == 0.5
    assert math.isnan(checkpoint.score({"loss": 2.0}, "eval_greedy_reward"))


def test_a_stage_ends_where_nothing_improves_and_a_resumed_one_knows(tmp_path: Path) -> None:
    by = (*BY, "patience=2")
    said = [0.1, 0.5, 0.4, 0.3, 0.9, 0.9]
    small_loop.run(tmp_path, settings=by, steps=12, held_out=Scripted(said))
    assert [line["step"] for line in lines(tmp_path)][-1] == 8
    assert checkpoint.steps(tmp_path)[-1] == 8
    again = Scripted(said)
    small_loop.run(tmp_path, settings=by, steps=12, held_out=again)
    assert not again.asked
    assert [line["step"] for line in lines(tmp_path)][-1] == 8


def test_a_metric_that_there_is_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keep_best_by='rewrad' is no metric of a step; there are loss"):
        small_loop.run(tmp_path, settings=("keep_best_by=rewrad",), steps=2)
    program = made_up.grpo(CFG, shipped_reward=True)
    model, static = made_up.reward_model(CFG)
    one = HeldOut(CFG, 8, (made_up.batch(CFG),), model, static, program.mesh, jax.random.key(0))
    cfg = made_up.config(eval_every=2, checkpoint_every=4, keep_best_by="eval_greedy_rewrad")
    with pytest.raises(ConfigError, match=r"is no metric; those of an evaluation: .*eval_greedy_reward"):
        held_out._check_best(cfg, one, program)
    cfg = made_up.config(eval_every=2, checkpoint_every=3, keep_best_by="eval_greedy_reward")
    with pytest.raises(ConfigError, match="checkpoint_every wants a multiple of eval_every=2, got 3"):
        held_out._check_best(cfg, one, program)


def test_none_is_asked_for_without_eval_every() -> None:
    job = Job("grpo", made_up.config(), Path("x"))
    assert held_out.build(job, SimpleNamespace(), None) is None  # pyright: ignore[reportArgumentType] not looked at
    with pytest.raises(ConfigError, match="patience=3 does nothing with eval_every=0"):
        presets.load("tiny", ["patience=3"])


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_run_evaluates_its_held_out_clips(stage: str, tmp_path: Path) -> None:
    """Of as many clips as are asked for; with a reward of one's own, and of no model."""
    own = tmp_path / "own.py"
    own.write_text("def short(captions, clips):\n    return -captions.words.mask.sum(-1) / 10\n")
    items = [f"reward.parts=facts,rouge_l*0.5,{own}:short*0.1", "reward.model=nowhere", "steps=2", "eval_every=1"]
    told = {}
    for clips in (2, 7):
        cfg = presets.load("tiny", [*items, f"eval_clips={clips}"])
        run = tmp_path / f"{stage}-{clips}"
        if stage == "sft":
            stages.sft(cfg, run, progress=silent)
        else:
            stages.grpo(cfg, run, init=None, progress=silent)
        told[clips] = lines(run)
        assert [line["step"] for line in told[clips]] == [1, 2]
        for line in told[clips]:
            mix = line["eval_greedy_reward_facts"] + 0.5 * line["eval_greedy_reward_rouge_l"]
            mix += 0.1 * line["eval_greedy_reward_short"]
            assert line["eval_greedy_reward"] == pytest.approx(mix, abs=1e-4)
            assert {"eval_sampled_reward", "eval_greedy_reward_emotion_stated", "eval_sampled_truncated"} <= line.keys()
    assert [line["loss"] for line in told[2]] == [line["loss"] for line in told[7]], "training does not notice"
    assert told[2][0]["eval_greedy_reward"] != told[7][0]["eval_greedy_reward"]
