"""A run that is given its programs compiled compiles none and ends where any run ends; another program is refused."""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from emojax.config import Config, LlamaConfig, MelEncoderConfig, Mesh, Model
from emojax.errors import RunError
from emojax.parallel import sharding
from emojax.training import aot, executable
from emojax.training.job import Job
from emojax.training.loop import train
from emojax.training.program import Program, new_state
from emojax.training.run import RunOptions, open_run
from emojax.types import Batch
from support import made_up

SECONDS = (0.3, 0.5)
CFG = made_up.config(steps=4, checkpoint_every=4)
CFG = dataclasses.replace(
    CFG,
    data=dataclasses.replace(CFG.data, audio_seconds=SECONDS),
    model=Model(
        audio=MelEncoderConfig(mels=20, width=24, layers=1, heads=3, ff=40, tokens=3),
        video=None,
        decoder=LlamaConfig(vocab=46, width=40, layers=1, heads=6, kv_heads=2, head_width=8, ff=56),
    ),
    mesh=Mesh(fsdp=2),
)
ABOUT = {"config": "made-up", "topology": "cpu"}


def batches() -> Iterator[Batch]:
    """Of both length buckets."""
    for seed, seconds in enumerate(itertools.cycle(SECONDS)):
        data = dataclasses.replace(CFG.data, audio_seconds=(seconds,))
        batch = made_up.batch(dataclasses.replace(CFG, data=data), seed=seed)
        yield dataclasses.replace(batch, references=None)


def run(program: Program, out: Path, file: Path | None, cfg: Config = CFG) -> list[dict]:
    """The lines of its log."""
    open_run(out, "sft", cfg, resume=False, overwrite=False)
    whole = sharding.replicated(program.mesh)
    params = jax.device_put(made_up.params(CFG), jax.tree.map(lambda x: x.sharding, program.state.params))
    key = jax.device_put(jax.random.key(0), whole)
    frozen = jax.device_put(made_up.frozen(program, CFG), whole)
    job = Job("sft", cfg, out, RunOptions(executable=file))
    train(job, program, new_state(program, params), frozen, batches(), key, lambda samples: [])
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "step_seconds"} for line in lines]


@pytest.fixture(scope="module")
def program() -> Program:
    return made_up.sft(CFG, 4)


@pytest.fixture(scope="module")
def lowered(program: Program) -> aot.LoweredBuckets:
    return aot.lower(program)


@pytest.fixture(scope="module")
def compiled(lowered: aot.LoweredBuckets) -> list[jax.stages.Compiled]:
    return [one.compile() for one in lowered.lowered.values()]


@pytest.fixture(scope="module")
def file(
    lowered: aot.LoweredBuckets, compiled: list[jax.stages.Compiled], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("plan") / "sft.executable"
    executable.save(path, "sft", lowered, compiled, ABOUT)
    return path


# the first test: XLA:CPU cannot serialise a program that has run a sort (`LessThan` is not serializable)
def test_a_file_holds_both_stages(
    program: Program,
    lowered: aot.LoweredBuckets,
    compiled: list[jax.stages.Compiled],
    file: Path,
    tmp_path: Path,
) -> None:
    path = tmp_path / "both"
    path.write_bytes(file.read_bytes())
    with pytest.raises(RunError, match="has no programs of `grpo`, it has those of `sft`"):
        executable.check(path, "sft", "grpo")
    short = aot.LoweredBuckets(dict(list(lowered.lowered.items())[:1]), "another")
    executable.save(path, "grpo", short, compiled[:1], ABOUT)
    executable.check(path, "sft", "grpo")
    assert len(executable.load(path, "sft", lowered, program.mesh)) == len(SECONDS)
    assert len(executable.load(path, "grpo", short, program.mesh)) == 1
    with pytest.raises(RunError, match="no such file"):
        executable.check(tmp_path / "nowhere", "sft")


def test_no_step_is_compiled_and_the_run_is_the_same(
    program: Program, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilations = []
    usual = jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda *a, **k: compilations.append(a) or usual(*a, **k))
    unaided = run(program, tmp_path / "compiles", None)
    assert len(compilations) == len(SECONDS)
    given = run(program, tmp_path / "loads", file)
    assert len(compilations) == len(SECONDS)
    assert given == unaided
    assert len(given[-1]["params_sha256"]) == 64


def test_another_program_is_refused_before_the_first_step(file: Path, tmp_path: Path) -> None:
    other = made_up.with_sft(CFG, emotion_weight=0.25)
    program = made_up.sft(other, 4)
    there = json.loads(file.read_bytes().split(b"\n")[2])["sft"]["fingerprint"]
    here = aot.lower(program).fingerprint
    with pytest.raises(
        RunError, match=rf"(?s)fingerprint: {there} there, {here} here.*emojax plan --program sft --save"
    ):
        run(program, tmp_path / "run", file, other)
    assert not (tmp_path / "run" / "metrics.jsonl").exists() or not (tmp_path / "run" / "metrics.jsonl").read_text()


def test_other_devices_and_versions_are_refused(
    program: Program, lowered: aot.LoweredBuckets, file: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="  devices: 4 there, 8 here"):
        executable.load(file, "sft", lowered, made_up.sft(CFG, 8).mesh)
    with pytest.raises(RunError, match=r"  jaxlib: 0\.0\.1 there, "):
        executable.load(changed(file, tmp_path, jaxlib="0.0.1"), "sft", lowered, program.mesh)
    with pytest.raises(RunError, match="  device: TPU v9 there, cpu here"):
        executable.load(changed(file, tmp_path, device="TPU v9"), "sft", lowered, program.mesh)
    assert len(executable.load(changed(file, tmp_path), "sft", lowered, program.mesh)) == len(SECONDS)


def changed(file: Path, folder: Path, **facts: str) -> Path:
    """The file with other facts in its header, and the sum that they want."""
    body = file.read_bytes().split(b"\n", 2)[2]
    header, _, rest = body.partition(b"\n")
    stages = json.loads(header)
    stages["sft"] |= facts
    body = json.dumps(stages).encode() + b"\n" + rest
    (folder / "changed").write_bytes(executable.sealed(body))
    return folder / "changed"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "is damaged"),
        (lambda content: content[:-9] + b"x" + content[-8:], "is damaged"),
        (lambda content: b"\x80" + content, "is no file of compiled programs"),
        (lambda content: b"", "is no file of compiled programs"),
    ],
)
def test_a_file_that_is_not_whole_or_not_ours_is_refused_unread(
    damage, message: str, file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(damage(file.read_bytes()))
    with pytest.raises(RunError, match=message):
        executable.check(path, "sft")
    with pytest.raises(RunError, match=message):
        executable.save(path, "grpo", aot.LoweredBuckets({}, ""), [], ABOUT)


def test_a_loaded_program_gives_back_what_it_was_given(
    program: Program, lowered: aot.LoweredBuckets, file: Path
) -> None:
    """The state's buffers are taken over by the new state, as they are by a program that was compiled here."""
    (shapes, loaded), *_ = executable.load(file, "sft", lowered, program.mesh).items()
    batch = next(batches())
    assert shapes == tuple(leaf.shape for leaf in jax.tree.leaves(batch))
    state = new_state(program, made_up.params(CFG))
    frozen, key = made_up.frozen(program, CFG), jax.device_put(jax.random.key(0), sharding.replicated(program.mesh))
    frozen = jax.device_put(frozen, sharding.replicated(program.mesh))
    with jax.set_mesh(program.mesh):
        after, _ = loaded(state, frozen, sharding.to_devices(batch, program.mesh), key)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
    assert np.isfinite(np.asarray(jax.tree.leaves(after.params)[0])).all()
