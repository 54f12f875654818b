"""What a newcomer is told: where the run is, what is being waited for, what a number means, what to install."""

import json
import logging
import re
import sys
from pathlib import Path

import pytest

import emojax
from emojax import cli
from emojax.commands import train
from emojax.evaluation.report import note
from support import small_loop

ROOT = Path(__file__).parents[1]


def test_the_demo_and_the_fast_one_do_not_stand_in_each_others_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = []

    def run(asked: train.Run, ablate: bool) -> None:
        assert asked.out is not None
        begun.append((asked.out.name, asked.config))
        asked.out.mkdir()
        (asked.out / "report.md").write_text("table\n## Examples\n")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "_train_and_report", run)
    train.demo(fast=True)
    train.demo()
    assert begun == [("emojax-demo-fast", "demo_fast"), ("emojax-demo", "demo")]
    assert "emojax caption --model emojax-demo YOUR_CLIP.mp4" in capsys.readouterr().out


def test_what_is_compiled_is_told_and_how_long_it_took_last_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with caplog.at_level(logging.INFO):
        small_loop.run(tmp_path / "first", steps=1)
        (kept,) = tmp_path.rglob("compile-seconds.json")
        kept.write_text(json.dumps(dict.fromkeys(json.loads(kept.read_text()), 42.0)))  # it took no time at all here
        small_loop.run(tmp_path / "second", steps=1)
    first, second = (said for said in caplog.messages if said.startswith("compiling"))
    assert first == "compiling the step of grpo"
    assert second == "compiling the step of grpo; it took 42 s last time"


def test_a_stage_that_samples_nothing_leaves_no_empty_file_of_samples(tmp_path: Path) -> None:
    small_loop.run(tmp_path, steps=1, settings=("sample_every=1",))
    assert (tmp_path / "metrics.jsonl").exists()
    assert not (tmp_path / "samples.jsonl").exists()


def test_the_end_of_a_run_names_its_page_and_what_shows_its_curves(capsys: pytest.CaptureFixture[str]) -> None:
    train._tell(sft=Path("runs/my sft"))
    assert capsys.readouterr().err == (
        "page: emojax report 'runs/my sft'; curves: tensorboard --logdir 'runs/my sft' (pip install tensorboard)\n"
    )


def test_a_table_says_what_its_words_mean() -> None:
    told = note({"captions": {"tokenization": "en: words", "clips": 3, "broken": 1, "reward_by": "1 facts (of demo)"}})
    assert "3 clips, 1 more are left out: their media cannot be decoded. Reward: 1 facts (of demo)" in told
    assert "Words: distinct tokens of all captions; dist-2: share of distinct pairs of neighbours" in told


def test_the_version_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["emojax", "--version"])
    cli.main()
    assert capsys.readouterr().out == f"emojax {emojax.__version__}\n"


def test_no_hint_names_an_index_that_the_project_is_not_on() -> None:
    pages = [*(ROOT / "emojax").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    wrong = [page for page in pages if re.search(r"pip install (?:--?[\w-]+ )*['\"]?emojax\b", page.read_text())]
    assert not wrong
