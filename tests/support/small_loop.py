"""The loop around a step of one sum: compiled in a moment, it does all that the loop does around a real one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from emojax.config import presets
from emojax.training import checkpoint, loop
from emojax.training.job import Job
from emojax.training.program import Program
from emojax.training.recorder import Words
from emojax.training.run import RunOptions
from emojax.types import TrainState

TINY = presets.load("tiny", ["checkpoint_every=100"])
STEPS = 6
MESH = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1, 1), ("data", "fsdp", "model"))


def step(state: TrainState, frozen: jax.Array, batch: jax.Array, key: jax.Array) -> tuple[TrainState, dict[str, Any]]:
    loss = batch.sum() + frozen + jax.random.uniform(jax.random.fold_in(key, state.step))
    after = state.replace(step=state.step + 1, params={"w": state.params["w"] + loss})
    return after, {"loss": loss, "skipped": state.skipped}


def run(
    out: Path,
    options: RunOptions = RunOptions(),
    settings: tuple[str, ...] = (),
    mesh: jax.sharding.Mesh = MESH,
    steps: int = STEPS,
    progress: Callable[[int, dict[str, float]], None] = lambda step, values: None,
    words: Words = lambda samples: [],
    held_out: Any = None,
) -> TrainState:
    """Goes on with the run in `out` to its end; batch i is full of the number i."""
    here = NamedSharding(mesh, PartitionSpec())

    def new() -> tuple[TrainState, jax.Array, jax.Array]:
        state = TrainState(step=jnp.int32(0), params={"w": jnp.zeros(3)}, opt_state=(), skipped=jnp.int32(0))
        return state, jnp.float32(1), jax.random.key(0)

    batch = jax.ShapeDtypeStruct((8,), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec("data")))
    state, frozen, key = given = jax.jit(new, out_shardings=here)()
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), given)
    state = checkpoint.restore(out, abstract[0]) or state
    program = Program(
        jax.jit(step, out_shardings=here), lambda _: state, None, None, mesh, *abstract[:2], (batch,), abstract[2]
    )
    numbers: Any = (np.full(8 // jax.process_count(), i, np.float32) for i in range(int(state.step), 100))
    out.mkdir(parents=True, exist_ok=True)
    cfg = presets.override(TINY, [f"steps={steps}", *settings])
    return loop.train(
        Job("grpo", cfg, out, options, lambda step, _, values: progress(step, values)),
        program,
        state,
        frozen,
        numbers,
        key,
        words,
        held_out,
    )
