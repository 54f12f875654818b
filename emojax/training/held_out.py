"""Held-out clips, captioned and scored while training goes on: by the weights that train, where they lie.

Clips of the split `validation`, decoded once and kept on the host. Each gets a greedy caption and a sampled one, with
the same noise at every evaluation; their rewards, by part, and their wording are metrics `eval_greedy_NAME` and
`eval_sampled_NAME` of the step that was evaluated.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emojax import rewards
from emojax.config import Config, ConfigError
from emojax.corpus import source
from emojax.data.batches import Batching, training_batches
from emojax.data.clips import label_shares
from emojax.decoder.captioner import Params, matmul_precision, over, sample
from emojax.decoder.sample import Drawing
from emojax.parallel import sharding
from emojax.storage import parse_json
from emojax.training import checkpoint
from emojax.training.features import feature_source
from emojax.training.grpo import Frozen
from emojax.training.job import Job
from emojax.training.measure import distinct_pairs
from emojax.training.program import Program
from emojax.types import Array, Batch, Tree

SPLIT = "validation"
Sums = dict[str, tuple[Array, Array]]  # (sum, count) by name


@dataclass(frozen=True)
class HeldOut:
    """What evaluates a stage; of several processes all call it."""

    cfg: Config
    clips: int  # rows of a global batch
    batches: tuple[Batch, ...]  # numpy, the rows of this process
    model: rewards.RewardModel  # on the devices
    static: rewards.RewardStatic
    mesh: jax.sharding.Mesh
    key: Array

    def due(self, step: int, steps: int) -> bool:
        return step % self.cfg.eval_every == 0 or step == steps

    def __call__(self, params: Tree, frozen: Tree) -> dict[str, float]:
        """Metrics of the captioner that a stage has in training, from what its step is given."""
        run = _compiled(self.cfg, self.static, self.mesh)
        found = [
            run(params, frozen, self.model, sharding.to_devices(batch, self.mesh, self.clips), self.key)
            for batch in self.batches
        ]
        sums: list[dict[str, Any]] = [jax.device_get(one) for one in found]
        out = {}
        for name in sums[0]:
            if name.endswith("_seen"):
                out[name.replace("_seen", "_vocabulary")] = float(np.any([one[name] for one in sums], 0).sum())
            else:
                total, count = (math.fsum(float(one[name][i]) for one in sums) for i in (0, 1))
                out[name] = total / count if count else math.nan
        return out


@functools.cache
def _compiled(cfg: Config, static: rewards.RewardStatic, mesh: jax.sharding.Mesh) -> Any:
    score = functools.partial(held_out_sums, cfg=cfg, static=static)
    return jax.jit(score, out_shardings=sharding.replicated(mesh))


def held_out_sums(
    params: Tree,
    frozen: Tree,
    model: rewards.RewardModel,
    batch: Batch,
    key: Array,
    *,
    cfg: Config,
    static: rewards.RewardStatic,
) -> dict[str, Any]:
    """A batch, greedily and sampled: (sum, count) of each metric, and the tokens that were written, bool[V]."""
    captioner = over(params, Params(frozen.encoders, frozen.reference) if isinstance(frozen, Frozen) else frozen)
    out: dict[str, Any] = {}
    for how, sampling in (("greedy", None), ("sampled", cfg.grpo.sampling)):
        with matmul_precision(cfg):
            _, drawn = sample(captioner, batch, key, cfg, group=1, how=Drawing(sampling))
        with jax.default_matmul_precision("float32"):
            assert batch.references is not None, "clips that are scored have references"
            total, parts = rewards.score(model, static, drawn.ids, drawn.mask, batch.references)
        tokens, pairs = drawn.mask.sum(-1).astype(jnp.float32), distinct_pairs(drawn.ids, drawn.mask)
        told = {"reward": total} | {f"reward_{name}": part for name, part in parts.items()} | {"length": tokens}
        told["truncated"] = (~drawn.ended).astype(jnp.float32)
        found: dict[str, Any] = {name: _sum(x) for name, x in told.items()} | {"distinct2": pairs}
        found["seen"] = jnp.zeros(cfg.model.decoder.vocab, bool).at[drawn.ids].max(drawn.mask)
        out |= {f"eval_{how}_{name}": x for name, x in found.items()}
    return out


def _sum(x: Array) -> tuple[Array, Array]:
    known = jnp.isfinite(x)
    return jnp.where(known, x, 0).sum(), known.sum().astype(jnp.float32)


def build(job: Job, program: Program, read: rewards.Reader | None) -> HeldOut | None:
    """None where the configuration asks for none.

    Args:
      read: the reward's, where the stage has loaded it.
    Raises:
      ConfigError: no held-out clips; `keep_best_by` is no metric, or of steps without a checkpoint.
    """
    cfg = job.cfg
    if not cfg.eval_every:
        return None
    assert job.tokenizer is not None, "a job that `begin` made has one"
    clips = [clip for clip in source.split(source.manifest(cfg), SPLIT) if clip.captions]
    if not clips:
        raise ConfigError(f"eval_every={cfg.eval_every}: no clip of the split {SPLIT!r} has a caption")
    clips = clips[:: max(1, len(clips) // cfg.eval_clips)][: cfg.eval_clips]
    end = cfg.model.decoder.end_token
    read = read or rewards.make_reader(cfg.reward, job.tokenizer, end=end, training=job.clips)
    model, static = rewards.build(read)
    mesh, batch = program.mesh, job.batch
    batches = training_batches(
        clips,
        job.tokenizer,
        dataclasses.replace(cfg.data, workers=0),  # once, in this process
        Batching(batch, 0, cfg.caption_tokens, end, rows=sharding.rows_here(mesh, batch)),
        emotions=label_shares(clips, cfg.reward.concepts),
        references=rewards.lookup(read, clips, cfg.data.references, np.arange(len(clips))),
        features=feature_source(cfg, clips, job.folder),
    )
    with closing(batches):
        kept = tuple(islice(batches, math.ceil(len(clips) / batch)))
    key = sharding.everywhere(jax.random.key(cfg.seed), mesh)
    found = HeldOut(cfg, batch, kept, sharding.everywhere(model, mesh), static, mesh, key)
    _check_best(cfg, found, program)
    return found


def _check_best(cfg: Config, held_out: HeldOut, program: Program) -> None:
    if not cfg.keep_best_by.removeprefix("-").startswith("eval_"):
        return
    if cfg.checkpoint_every % cfg.eval_every:
        raise ConfigError(
            f"keep_best_by={cfg.keep_best_by} ranks checkpoints by an evaluation: checkpoint_every wants a multiple of "
            f"eval_every={cfg.eval_every}, got {cfg.checkpoint_every}"
        )
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((held_out.clips, *x.shape[1:]), x.dtype), held_out.batches[0])
    with jax.set_mesh(held_out.mesh):
        told = jax.eval_shape(
            functools.partial(held_out_sums, cfg=cfg, static=held_out.static),
            *(program.state.params, program.frozen, held_out.model, batch, program.key),
        )
    names = [name.replace("_seen", "_vocabulary") for name in told]
    if cfg.keep_best_by.removeprefix("-") not in names:
        raise ConfigError(f"keep_best_by={cfg.keep_best_by!r} is no metric; those of an evaluation: {', '.join(names)}")


def stalled(scores: Sequence[float], patience: int) -> bool:
    """Whether the last `patience` evaluations were no better than the best before them; 0: never.

    >>> stalled([0.1, 0.3, 0.2], 2), stalled([0.1, 0.3, 0.2, 0.3], 2)
    (False, True)
    """
    best = max(range(len(scores)), key=lambda i: scores[i] if math.isfinite(scores[i]) else -math.inf, default=0)
    return 0 < patience <= len(scores) - 1 - best


def scores(job: Job, step: int) -> list[float]:
    """Those of the evaluations of a run up to `step`, as its log has them."""
    path, found = job.out / "metrics.jsonl", []
    lines = path.read_bytes().splitlines() if path.exists() and job.cfg.patience else []
    for line in lines:
        try:
            values: Mapping[str, Any] = parse_json(line, "a line")
        except ValueError:
            continue  # half-written
        one = checkpoint.score(values, job.cfg.keep_best_by)
        if values.get("step", step + 1) <= step and math.isfinite(one):
            found.append(one)
    return found
