"""The steps of tests/test_processes.py in one process of several: `python process_steps.py OUT MESH... -- FLAGS`.

Each mesh is `FSDPxMODEL`. What the steps gave is written to OUT by the first process, a `.npz` a mesh and stage.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from emojax.config import Config, Mesh
from emojax.parallel import hosts, sharding
from emojax.param import dotted
from emojax.training.grpo import Frozen
from emojax.training.program import Program, grpo_program, sft_program
from emojax.types import Tree
from support import made_up

CFG = made_up.config()


def program(stage: str, cfg: Config) -> Program:
    mesh = sharding.make_mesh(cfg)
    return sft_program(cfg, mesh) if stage == "sft" else grpo_program(cfg, mesh, *made_up.reward_model(CFG))


def spread(tree: Tree, like: Tree) -> Tree:
    """Values that every process holds whole -> global arrays that lie as those of `like`."""

    def one(x: Any, s: Any) -> jax.Array:
        here = np.asarray(x)
        return sharding.from_parts(here.shape, s.sharding, lambda index: here[index])

    return jax.tree.map(one, tree, like)


def step(program: Program, stage: str, state: Tree, seed: int) -> Tree:
    """Everything whole, on every process."""
    frozen = made_up.frozen(program, CFG, made_up.reward_model(CFG)[0])
    whole = made_up.batch(CFG, seed=seed)
    whole = whole if isinstance(program.frozen, Frozen) else whole.replace(references=None)
    rows = sharding.rows_here(program.mesh, len(whole.clip_id))
    read = jax.tree.map(lambda x: x[rows], whole)
    batch = sharding.to_devices(read, program.mesh, len(whole.clip_id))
    key = sharding.everywhere(jax.random.key(0), program.mesh)
    with jax.set_mesh(program.mesh):
        out = program.step(spread(state, program.state), spread(frozen, program.frozen), batch, key)
        out = jax.jit(lambda x: x, out_shardings=sharding.replicated(program.mesh))(out)
    return jax.device_get(out)


def flat(tree: Tree) -> dict[str, np.ndarray]:
    return {dotted(at): np.asarray(x) for at, x in jax.tree_util.tree_leaves_with_path(tree)}


def main() -> None:
    out, *rest = sys.argv[1:]
    at = rest.index("--")
    flags = dict(zip(rest[at + 1 :: 2], rest[at + 2 :: 2], strict=True))
    if flags:
        hosts.initialize(int(flags["--processes"]), flags["--coordinator"], int(flags["--process"]), 60)
    for name in rest[:at]:
        fsdp, model = map(int, name.split("x"))
        cfg = dataclasses.replace(CFG, mesh=Mesh(fsdp=fsdp, model=model))
        for stage in ("sft", "grpo"):
            compiled = program(stage, cfg)
            # Adam's very first step is the gradient's sign: see tests/test_devices.py
            before, _ = step(compiled, stage, made_up.state(compiled, CFG, step=2), seed=1)
            after, metrics = step(compiled, stage, before, seed=0)
            if hosts.first():
                np.savez(Path(out, f"{stage}-{name}.npz"), **flat({"state": after, "metrics": metrics}))


if __name__ == "__main__":
    main()
