"""Two published datasets as they come, to a step of training: imported, checked, counted, joined, learnt from."""

import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

from emojax import cli
from emojax.config import presets
from emojax.training import stages
from support.dataset_trees import TREES


def emojax(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["emojax", *map(str, words)])
    cli.main()


@pytest.mark.slow
def test_captions_of_one_and_labels_of_the_other_teach_in_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    noise, made = np.random.default_rng(0), []
    for name in ("secap", "crema-d"):
        root = TREES[name](tmp_path / name)
        for path in root.rglob("*.wav"):
            if not path.read_bytes().startswith(b"version"):
                soundfile.write(path, noise.normal(0, 0.1, 12_000), 16_000)
        for path in root.rglob("*.flv"):
            path.unlink()
        own = ["--split-file", tmp_path / "splits"] if name == "secap" else []
        made.append(tmp_path / f"{name}.jsonl")
        (tmp_path / "splits").write_text("tx_emotion_1 train\ntx_emulate_2 train\n")
        emojax(monkeypatch, "import", name, "--root", root, "--out", made[-1], *own)
        emojax(monkeypatch, "manifest", "check", made[-1])
    emojax(monkeypatch, "manifest", "merge", *made, "--out", tmp_path / "both.jsonl")
    capsys.readouterr()
    emojax(monkeypatch, "manifest", "stats", tmp_path / "both.jsonl", "--json")
    train = json.loads(capsys.readouterr().out)["splits"]["train"]
    assert (train["clips"], train["captions"]) == (5, 2)
    assert train["emotions"] == {"none": 2, "angry": 1, "neutral": 1, "sad": 1}

    one = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: one)
    settings = [f"data.manifest={tmp_path / 'both.jsonl'}", "sft.batch=5", "steps=1", "decoder.layers=1"]
    cfg = presets.load("tiny", settings)
    stages.sft(dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, video=None)), tmp_path / "run")
    (line,) = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert (line["captioned"], line["labelled"], line["skipped"]) == (2, 3, 0)
    assert line["loss"] > 0
    assert line["emotion_loss"] > 0
