"""More devices with as many more clips: what each computes and sends in a step stays the same (data parallelism)."""

import dataclasses
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np
import pytest

from emojax.config import LlamaConfig, MelEncoderConfig, Mesh, Model
from emojax.parallel import sharding
from emojax.planning.collectives import collectives
from support import made_up

CFG = dataclasses.replace(
    made_up.config(mesh=Mesh(fsdp=1, model=1)),
    model=Model(
        audio=MelEncoderConfig(mels=20, width=48, layers=1, heads=3, ff=96, tokens=3),
        video=None,
        decoder=LlamaConfig(vocab=46, width=48, layers=1, heads=6, kv_heads=2, head_width=8, ff=96),
    ),
)


@pytest.mark.slow
def test_work_and_messages_of_a_device_do_not_grow_with_devices() -> None:
    found = {}
    for devices in (2, 8):
        program = made_up.sft(made_up.with_sft(CFG, batch=4 * devices), devices)
        compiled = program.lower().compile()
        sent = collectives(compiled.as_text() or "", devices, [0] * devices)
        found[devices] = (compiled.cost_analysis() or {})["flops"], sum(one.bytes * one.times.count for one in sent)
    for devices, (operations, messages) in found.items():
        assert operations == pytest.approx(found[2][0], rel=0.1), (devices, found)
        assert messages == pytest.approx(found[2][1], rel=0.1), (devices, found)
    gradient = 4 * sum(leaf.size for leaf in jax.tree.leaves(made_up.params(CFG)))
    assert found[8][1] > 0.9 * gradient, "the gradient is summed over the devices"


def test_samples_stay_on_the_device_that_drew_them_and_the_log_reads_the_first() -> None:
    program = made_up.grpo(CFG, 8)
    _, metrics = program.lower().compile().output_shardings
    cut = sharding.by_clip(program.mesh, program.clips)
    assert all(lies.is_equivalent_to(cut, 1) for lies in jax.tree.leaves(metrics["samples"]))
    assert all(lies.is_fully_replicated for name, lies in metrics.items() if name != "samples")
    batch = made_up.batch(CFG, program.clips)
    first = sharding.first_here(sharding.to_devices(batch, program.mesh))
    jax.tree.map(np.testing.assert_array_equal, first, jax.tree.map(lambda x: x[0], batch))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(find_spec("libtpu") is None, reason="the TPU compiler is not installed: pip install -e '.[tpu]'")
def test_the_same_on_pods_of_16_64_and_256_chips() -> None:
    """Emo-GRPO of `base`, four clips a chip."""
    found = {}
    for chips, pod in ((16, "v5e:4x4"), (64, "v5e:8x8"), (256, "v5e:16x16")):
        sets = [f"sft.batch={4 * chips}", f"grpo.batch={4 * chips}", "mesh.fsdp=1", "mesh.model=1"]
        report = planned("base", "grpo", pod, sets)
        assert report["host_callbacks"] == report["infeeds"] == report["outfeeds"] == 0
        found[chips] = report["flops_by_compiler"], sum(row["bytes"] for row in report["collectives"])
        assert report["flops_per_device"] == pytest.approx(report["flops"] / chips)
    for chips, (operations, messages) in found.items():
        assert operations == pytest.approx(found[16][0], rel=0.1), (chips, found)
        assert messages == pytest.approx(found[16][1], rel=0.1), (chips, found)


def planned(config: str, program: str, pod: str, sets: list[str]) -> dict:
    flags = [part for pair in sets for part in ("--set", pair)]
    command = [sys.executable, "-m", "emojax.cli", "plan", "--config", config, "--program", program, "--json"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "XLA_FLAGS": ""}
    done = subprocess.run(
        [*command, "--no-propose", "--topology", pod, *flags], env=env, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)
