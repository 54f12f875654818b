"""Studies: what each changes, what of it is made again, what its table says. The runs are made-up records here."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from emojax.config import ConfigError, presets
from emojax.errors import RunError
from emojax.report import comparisons
from emojax.reproduce import studies, study, study_table
from emojax.reproduce.compare import Comparison, Gap
from emojax.reproduce.studies import Given, Variant
from support.made_records import leaves, write

GIVEN = Given(presets.load("tiny"), "sft", 4, python=("py",))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Variant]:
    """Instead of training: a record by the seed, whose weights a variant with settings moves by a little."""
    all_of_them: list[Variant] = []

    def start(words: Sequence[str], variant: Variant, out: Path) -> None:
        all_of_them.append(variant)
        seed = json.loads(Path(words[words.index("--config") + 1]).read_text())["seed"]
        steps = [leaves(step, seed) for step in range(int(words[words.index("--until") + 1]) + 1)]
        if variant.settings:
            steps[2:] = [found | {"params.w": found["params.w"] + np.float32(1e-3)} for found in steps[2:]]
            steps[2:] = [found | {"metrics.loss": found["metrics.loss"] + np.float32(0.01)} for found in steps[2:]]
        write(out / "record", steps, stage="sft")
        (out / "run.json").write_text("{}")

    monkeypatch.setattr(study, "_start", start)
    return all_of_them


def test_a_study_compares_each_run_with_the_plain_one_of_its_seed(started: list[Variant], tmp_path: Path) -> None:
    results = study.run(GIVEN, studies.variants("batch", GIVEN), tmp_path, [0, 1, 2])
    assert [v.name for v in started] == ["plain", "micro-batch 4", "micro-batch 2"] * 3
    head, one, _, _, last = study_table.lines(GIVEN, results)
    assert " ".join(head.split()) == "parts first at distance / moved change of the loss first other token"
    assert "micro-batch 4  step 2, metrics.loss" in one
    assert "+0.01 ± " in one
    assert "between seeds the loss at the end has a deviation of 0 (3 seeds)" in last
    assert "a difference of 0.3 between two runs is larger than noise" in study_table.lines(GIVEN, results, 0.3)[-1]
    study.run(GIVEN, studies.variants("batch", GIVEN), tmp_path, [0, 1, 2])
    assert len(started) == 9, "what is there is not made again"
    other = Given(presets.load("tiny", ["caption_tokens=9"]), "sft", 4)
    study.run(other, studies.variants("batch", other), tmp_path, [0])
    assert len(started) == 12, "what is of another configuration is"
    page = comparisons.study("a title", GIVEN, results, None)
    assert page.count("<svg") == 3
    json.dumps(study_table.as_json(results), allow_nan=False)


def test_a_run_is_stopped_and_resumed_and_ends_with_the_same_bits(started: list[Variant], tmp_path: Path) -> None:
    (result,) = study.run(GIVEN, studies.variants("resume", GIVEN), tmp_path, [0])
    assert [v.stop for v in started] == [0, 2, 2]
    assert result.found.same
    assert "never: the same bits" in study_table.lines(GIVEN, [result])[1]
    assert "ask for --seeds 3" in study_table.lines(GIVEN, [result])[-1]


def test_a_precision_is_studied_with_the_plain_runs_captions_too(started: list[Variant], tmp_path: Path) -> None:
    given = dataclasses.replace(GIVEN, stage="grpo")
    results = study.run(given, studies.variants("precision", given), tmp_path, [0])
    configs = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("seed-0/[0-9]*[!w].json"))]
    named = [config["grpo"]["samples"] for config in configs if not config["name"].endswith("how")]
    plain = str(tmp_path / "seed-0" / "plain")
    assert [v.replay for v in started] == [False, False, False, True, True]
    assert named == ["", "", plain, plain]
    assert study_table.lines(given, results)[0].split()[-3:] == ["first", "other", "token"]


def test_the_gap_study_tells_that_of_the_plain_run_and_of_each_variant() -> None:
    given = dataclasses.replace(GIVEN, stage="grpo")
    gaps = [Gap(step, 1, 0.0, 0.0, {"logp_gap": (1e-7 * step, 3e-7)}, None) for step in (1, 2)]
    found = Comparison("grpo", [1, 2], 1, ([], []), [], gaps, [])
    head, row, *_ = study_table.lines(given, [study.Result(Variant("top-p 0.5"), 0, found)])
    assert head.endswith("sampler against update")
    assert row.endswith("2.0e-07 | 3.0e-07")


def test_every_study_changes_one_thing() -> None:
    sampled = dataclasses.replace(GIVEN, stage="grpo")
    for name, given in [(name, given) for given in (GIVEN, sampled) for name in studies.STUDIES]:
        if (name, given) == ("gap", GIVEN):
            continue  # it is of samples
        for variant in studies.variants(name, given):
            presets.override(GIVEN.cfg, variant.settings)
            changed = [bool(x) for x in (variant.settings, variant.flags, variant.python, variant.stop)]
            changed += [variant.processes > 1 or variant.devices > 0]
            assert sum(changed) == (name != "rerun"), name
    with pytest.raises(ConfigError, match=r"no study 'mseh', did you mean 'mesh'\?; there are rerun, resume, "):
        studies.variants("mseh", GIVEN)
    with pytest.raises(ConfigError, match=r"of what Emo-GRPO samples; ask for --stage grpo"):
        studies.variants("gap", GIVEN)
    with pytest.raises(ConfigError, match=r"name them by --python"):
        studies.variants("versions", Given(GIVEN.cfg, "sft", 4))


def test_a_run_that_fails_is_told_with_its_last_line(tmp_path: Path) -> None:
    """Of several processes, each of which is told its number."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$XLA_FLAGS"\necho "emojax: $*"\nexit 2\n')
    python.chmod(0o755)
    variant = Variant("x", python=str(python), flags="--a=b", processes=2)
    with pytest.raises(
        RunError, match=r"the run `x` of the study ended with 2; see .*x\.log: emojax: -m emojax.cli sft"
    ):
        study._start(["sft"], variant, tmp_path / "x")
    said = (tmp_path / "x.log").read_text()
    assert said.count("--processes 2 --coordinator localhost:") == 2
    assert all(f"--process {n}\n" in said for n in (0, 1))
    assert said.count("--a=b") == 2


def test_noise_is_the_spread_of_two_runs_over_seeds() -> None:
    r = np.random.default_rng(0)
    held = 0
    for _ in range(400):  # of two runs of one kind no difference is found, but for one time in twenty
        ends = r.normal(size=5)
        plain, a, b = ends[:3], *ends[3:]
        held += abs(a - b) > study_table._t(3) * np.std(plain, ddof=1) * np.sqrt(2)
    assert 8 <= held <= 36
    assert study_table.interval([1.0]) == "+1"
    assert study_table.interval([]) == ""
    assert study_table.interval([1.0, 3.0]) == "+2 ± 1e+01"
