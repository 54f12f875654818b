"""A run fed another's recorded captions."""

import dataclasses
from collections.abc import Generator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.config import ConfigError, presets
from emojax.decoder.sample import Drawing, noise, rollout
from emojax.errors import RunError
from emojax.training import records
from emojax.training.replayed import recorded, replayed
from emojax.training.stages import noise_of
from emojax.types import Batch
from support import made_up
from support.made_records import leaves, write

STEPS = [leaves(step) for step in range(4)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write(folder / "record", STEPS)
    write(folder / "sft" / "record", [{n: x for n, x in s.items() if "samples" not in n} for s in STEPS], stage="sft")
    return folder


def asked(run: Path, *more: str) -> Any:
    return presets.load("tiny", [f"grpo.samples={run}", "grpo.group=2", "caption_tokens=3", *more])


def batches(*clips: list[int]) -> Generator[Batch, None, None]:
    blank = made_up.batch(made_up.config())
    yield from (dataclasses.replace(blank, clip_id=np.array(each, np.uint32)) for each in clips)


def test_each_clip_gets_its_captions_of_that_step_whatever_its_row(run: Path) -> None:
    record = recorded(asked(run))
    first, second = replayed(batches([23, 20], [30, 31, 32, 33]), record, 1)
    np.testing.assert_array_equal(first.samples, STEPS[2]["samples.ids"][[3, 0]])
    np.testing.assert_array_equal(second.samples, STEPS[3]["samples.ids"])
    assert np.asarray(first.samples).dtype == np.int32


def test_captions_that_are_not_there_are_told(run: Path) -> None:
    record = recorded(asked(run))
    with pytest.raises(RunError, match=r"has no step 4, whose captions grpo\.samples wants; it has 3 steps"):
        next(replayed(batches([1]), record, 3))
    with pytest.raises(RunError, match=r"its step 1 has no captions of 1 of 2 clips: it read others; train with its"):
        next(replayed(batches([10, 99]), record, 0))
    with pytest.raises(ConfigError, match=r"has 2 captions of 3 tokens a clip, grpo\.group and .* ask for 4 of 3"):
        recorded(asked(run, "grpo.group=4"))
    with pytest.raises(ConfigError, match=r"is of `sft`, which samples nothing; name a run of Emo-GRPO"):
        recorded(asked(run / "sft"))
    with pytest.raises(ConfigError, match=r"set grpo\.oversample=1"):
        asked(run, "grpo.oversample=2")
    assert records.find(run) == {"": run / "record"}


def test_tokens_that_are_given_are_taken_and_scored_as_if_they_had_been_drawn() -> None:
    from emojax.decoder import lm
    from emojax.decoder.captioner import prompt
    from emojax.types import Prefix

    cfg = made_up.config()
    sizes, batch = cfg.model.decoder, made_up.batch(cfg, 3)
    p = jax.tree.map(jnp.asarray, made_up.params(cfg).decoder)
    r = np.random.default_rng(0)
    streams = Prefix(jnp.asarray(r.normal(size=(3, 4, sizes.width)), jnp.float32), jnp.ones((3, 4), bool))
    prefix = prompt(p, streams, batch, cfg)
    cache = lm.prefill(p, prefix, sizes)

    @jax.jit
    def draw(key: jax.Array, given: Any) -> Any:
        keys, how = noise(key, batch.clip_id, 4), Drawing(cfg.grpo.sampling, given=given)
        return rollout(p, cache, prefix.mask, keys, length=cfg.caption_tokens, how=how, sizes=sizes)

    own = draw(jax.random.key(0), None)
    again, other = draw(jax.random.key(1), own.ids), draw(jax.random.key(1), None)
    assert (own.ids != other.ids).any()
    for name in ("ids", "mask", "ended"):
        np.testing.assert_array_equal(getattr(again, name), getattr(own, name))
    np.testing.assert_allclose(again.logp, own.logp, atol=1e-5)


def test_the_step_reads_captions_where_they_are_asked_for() -> None:
    cfg = made_up.config()
    asked_for: Any = made_up.grpo.__wrapped__(made_up.with_grpo(cfg, samples="RUN")).batch.samples
    assert (asked_for.shape, asked_for.dtype) == ((8, 4, 9), np.int32)
    assert made_up.grpo.__wrapped__(cfg).batch.samples is None


def test_noise_has_a_seed_of_its_own() -> None:
    assert [noise_of(presets.load("tiny", more)) for more in (["seed=3"], ["seed=3", "noise_seed=0"])] == [3, 0]
