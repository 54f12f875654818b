"""What is proposed where a program does not fit does fit, and the next larger does not; few compilations find it."""

import dataclasses
import random
from pathlib import Path

import jax
import pytest

import test_weak_scaling as small
from emojax.config import Config, ConfigError, Mesh, presets
from emojax.parallel.chips import GIB
from emojax.planning import attempt, memory, programs, proposals, report
from emojax.planning.proposals import Outcome
from emojax.training.stage_mesh import stage_mesh
from support import made_up

CFG = dataclasses.replace(made_up.config(), mesh=Mesh(fsdp=1, model=1))
WIDE = made_up.with_sft(CFG, batch=48)


def needs(cfg: Config, state: int, activations: int) -> int:
    """Bytes, as a step's memory goes: the state is cut by the mesh, activations by the micro-batch and remat."""
    rows = cfg.sft.micro_batch or cfg.sft.batch
    return state // ((cfg.mesh.fsdp or 1) * (cfg.mesh.model or 1)) + activations * rows // (3 if cfg.model.remat else 1)


@pytest.mark.parametrize("seed", range(30))
def test_it_is_the_largest_that_fits(seed: int) -> None:
    r = random.Random(seed)
    state, activations, has = r.randrange(1000), r.randrange(1, 40), r.randrange(30, 900)
    looked: list[Config] = []

    def look(cfg: Config) -> Outcome:
        looked.append(cfg)
        return Outcome(needs(cfg, state, activations), has, True)

    sizes = [Mesh(fsdp=2, model=1), Mesh(fsdp=4, model=1), Mesh(fsdp=4, model=2)]
    steps = proposals.ladder(WIDE, "sft", sizes, lambda cfg: cfg.sft.micro_batch % 2 == 0)
    first = look(WIDE)
    if first.fits:
        return
    best, tried = proposals.search(WIDE, first, steps, look)
    by_hand = [[cfg for cfg in step if needs(cfg, state, activations) <= has] for step in steps]
    fitting = next((step for step in by_hand if step), None)
    assert best == (fitting[-1] if fitting else None)
    assert len(looked) == len(set(looked)) == len(tried) <= 9, "itself, a step, three bits of steps, four of sizes"
    assert {cfg: outcome.fits for cfg, outcome in tried.items()} == {
        cfg: needs(cfg, state, activations) <= has for cfg in looked
    }


def test_settings_are_what_changes_one_into_the_other() -> None:
    other = made_up.with_grpo(CFG, micro_batch=4)
    other = dataclasses.replace(other, mesh=Mesh(fsdp=8, model=1), model=dataclasses.replace(CFG.model, remat=True))
    items = proposals.settings(CFG, other)
    assert items == ("grpo.micro_batch=4", "model.remat=true", "mesh.fsdp=8")
    assert presets.override(CFG, list(items)) == other
    assert proposals.settings(CFG, CFG) == ()


def test_meshes_cut_more_and_more_and_heads_last() -> None:
    found = proposals.meshes(8, 2, 1, lambda fsdp, model: model <= 2)
    assert [(m.fsdp, m.model) for m in found] == [(4, 1), (8, 1)]
    found = proposals.meshes(8, 1, 1, lambda fsdp, model: fsdp <= 2)
    assert [(m.fsdp, m.model) for m in found] == [(2, 1), (2, 2), (2, 4)]


def test_what_cannot_be_laid_out_is_not_proposed() -> None:
    valid = proposals.allowed(lambda cfg: stage_mesh(cfg, "sft", jax.devices()[:4]))
    assert [cfg.sft.micro_batch for cfg in proposals.ladder(WIDE, "sft", (), valid)[0]] == [4, 8, 12, 16, 24, 0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory required for HLO "
            "temporaries (17.50G) exceeds available HBM (15.75G). HLO module: jit_f.",
            (17.5 * GIB, 15.75 * GIB),
        ),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.00G of 512.00M hbm. Exceeded hbm",
            (20 * GIB, GIB / 2),
        ),
        ("RESOURCE_EXHAUSTED: of something else", None),
        ("INTERNAL: Used 20.00G of 15.48G hbm", None),
    ],
)
def test_the_compilers_words_for_too_little_memory(text: str, told: tuple[float, float] | None) -> None:
    assert memory.exhausted(RuntimeError(text)) == told


def test_arguments_are_known_without_compiling() -> None:
    program = made_up.sft(dataclasses.replace(CFG, mesh=Mesh(fsdp=2, model=2)), 4)
    # a cold start draws nothing: the compiler leaves out the key and the names of the clips
    arguments = memory.of_arguments((program.state, program.frozen, dataclasses.replace(program.batch, clip_id=None)))
    assert arguments == memory.of(program.lower().compile())["arguments"]


def test_a_program_that_is_too_large_is_given_settings_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled for one device of this machine, with a made-up limit between the whole batch and a part of it."""
    cfg, devices = made_up.with_sft(small.CFG, batch=4), jax.devices()[:1]
    compile_, lower = attempt.attempt, programs.lower
    known: dict[str, attempt.Attempt] = {}
    lowered: dict[Config, programs.PlannedProgram] = {}

    def lower_once(cfg: Config, *args) -> programs.PlannedProgram:
        lowered[cfg] = lowered.get(cfg) or lower(cfg, *args)
        return lowered[cfg]

    def once(lowered: programs.PlannedProgram, limit: int | None) -> attempt.Attempt:
        key = lowered.buckets.fingerprint
        known[key] = known.get(key) or compile_(lowered, None)
        return dataclasses.replace(known[key], outcome=dataclasses.replace(known[key].outcome, has=limit))

    def used(size: int, limit: int | None = None) -> Outcome:
        one = made_up.with_sft(cfg, micro_batch=size % 4)
        return once(lower_once(one, "sft", devices, None), limit).outcome

    monkeypatch.setattr(attempt, "attempt", once)
    monkeypatch.setattr(report, "lower", lower_once)
    assert used(4).needs > used(2).needs > used(1).needs
    for limit, size in ((used(4).needs - 1, 2), (used(2).needs, 2), (used(2).needs - 1, 1)):
        outcome = used(4, limit)
        found = report.proposal(cfg, "sft", devices, None, outcome, stage_mesh(cfg, "sft", devices))
        assert found["settings"] == [f"sft.micro_batch={size}"]
        assert used(size, limit).fits
        assert not used(2 * size, limit).fits
        assert found["tried"][0] == {"settings": [], "needs": used(4).needs, "fits": False, "compiled": True}
    assert len(known) == 3


def test_captions_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keeps training programs"):
        report.plan(CFG, "caption", save=tmp_path / "captions")
