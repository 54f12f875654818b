"""`--overwrite` removes what runs write and nothing else, and a run never lies where it reads."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from emojax import param
from emojax.api import experiment
from emojax.commands import encode, use
from emojax.config import presets
from emojax.data.text import train_tokenizer
from emojax.decoder import captioner
from emojax.errors import RunError, WriteError
from emojax.export import directory
from emojax.storage import beside, replacing, write_atomically
from emojax.training import stages
from emojax.training.job import silent
from emojax.training.run import open_run, stage_of
from test_cli import files

TINY = presets.load("tiny")


def run_of_both(at: Path) -> Path:
    open_run(at, "train", TINY, resume=False, overwrite=False)
    for stage in ("sft", "grpo"):
        open_run(at / stage, stage, TINY, resume=False, overwrite=False)
        for name in ("metrics.jsonl", "checkpoints/3/state", "tensorboard/events", "tokenizer.json"):
            (at / stage / name).parent.mkdir(parents=True, exist_ok=True)
            (at / stage / name).write_text("ours")
    for name in ("report.md", "captions-sft.jsonl", "captions-sft.jsonl.settings.json"):
        (at / name).write_text("ours")
    return at


def test_what_a_run_did_not_write_stays(tmp_path: Path) -> None:
    run = run_of_both(tmp_path / "run")
    theirs = {"notes.md", "sft/diary.txt", "media/clip.wav", "clips.jsonl", "report.md.new"}
    for name in theirs:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("theirs")
    open_run(run, "sft", TINY, resume=False, overwrite=True)
    assert files(run).keys() == theirs | {"config.json", "run.json"}
    assert stage_of(run) == "sft"


@pytest.mark.parametrize(("init", "out"), [("run", "run"), ("run/sft", "run"), ("run", "run/sft/new"), ("run", ".")])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_that_is_read_is_never_replaced(init: str, out: str, overwrite: bool, tmp_path: Path) -> None:
    run_of_both(tmp_path / "run")
    before = files(tmp_path)
    with pytest.raises(RunError, match=r"--out .* must not be, hold or lie in --init .*, which is read"):
        stages.grpo(TINY, tmp_path / out, init=tmp_path / init, overwrite=overwrite, progress=silent)
    assert files(tmp_path) == before


def test_a_manifest_is_never_inside_what_is_replaced(tmp_path: Path) -> None:
    run = run_of_both(tmp_path / "run")
    (run / "clips.jsonl").write_text('{"id": "a", "transcript": "so", "captions": ["calm"], "split": "train"}\n')
    before = files(tmp_path)
    cfg = presets.override(TINY, [f"data.manifest={run / 'clips.jsonl'}"])
    with pytest.raises(RunError, match=r"must not be, hold or lie in data.manifest .*clips\.jsonl, which is read"):
        stages.sft(cfg, run, overwrite=True, progress=silent)
    assert files(tmp_path) == before


def data(at: Path) -> Path:
    """A manifest in `at/lists`, its media in `at/media`."""
    for name in ("lists", "media"):
        (at / name).mkdir(parents=True)
    (at / "media" / "a.wav").write_text("theirs")
    clip = {"id": "a", "audio": "../media/a.wav", "captions": ["calm"], "split": "train"}
    (at / "lists" / "clips.jsonl").write_text(json.dumps(clip) + "\n")
    return at / "lists" / "clips.jsonl"


def train(manifest: Path, out: Path) -> None:
    cfg = presets.override(TINY, [f"data.manifest={manifest}"])
    experiment.train(cfg, out, lambda *_: lambda *_: None, overwrite=True)


COMMANDS: dict[str, Callable[[Path, Path], None]] = {
    "train": train,
    "sft": lambda manifest, out: stages.sft(
        presets.override(TINY, [f"data.manifest={manifest}"]), out, overwrite=True, progress=silent
    ),
    "caption": lambda manifest, out: use.caption(model="none", manifest=manifest, out=out, overwrite=True),
    "encode": lambda manifest, out: encode.encode(out, config="tiny", manifest=manifest),
    "evaluate": lambda manifest, out: use.evaluate(manifest.parent / "c.jsonl", manifest, out=out, overwrite=True),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("place", [".", "lists", "media", "lists/clips.jsonl", "media/a.wav"])
def test_what_is_read_never_lies_where_is_written(command: str, place: str, tmp_path: Path) -> None:
    manifest = data(tmp_path / "data")
    before = files(tmp_path)
    with pytest.raises(RunError, match=r"--out .* must not be,? .*(data\.manifest|--manifest|--captions|a\.wav)"):
        COMMANDS[command](manifest, tmp_path / "data" / place)
    assert files(tmp_path) == before


def test_a_directory_that_is_read_never_holds_what_is_written(tmp_path: Path) -> None:
    manifest, run = data(tmp_path / "data"), run_of_both(tmp_path / "run")
    (tmp_path / "features").mkdir()
    with pytest.raises(RunError, match="lie in --model"):
        use.caption(model=str(run), manifest=manifest, out=run / "sft" / "captions.jsonl")
    with pytest.raises(RunError, match="lie in --features"):
        use.caption(model=str(run), manifest=manifest, features="features", out=Path("features/captions.jsonl"))
    with pytest.raises(RunError, match="lie in --model"):
        encode.encode(run / "features", model=str(run), manifest=manifest)
    with pytest.raises(RunError, match="lie in the run"):
        use.export(run, run / "exported")
    cfg = presets.override(TINY, [f"data.manifest={manifest}", f"data.features={tmp_path / 'features'}"])
    with pytest.raises(RunError, match=r"lie in data\.features"):
        stages.sft(cfg, tmp_path / "features" / "run", progress=silent)
    assert not (tmp_path / "features" / "run").exists()


def test_files_beside_an_output_are_replaced_only_where_that_is_asked_for(tmp_path: Path) -> None:
    manifest = data(tmp_path / "data")
    (tmp_path / "c.jsonl.settings.json").write_text("theirs")
    with pytest.raises(RunError, match=r"c\.jsonl\.settings\.json exists; .*--overwrite"):
        use.caption(model="none", manifest=manifest, out=tmp_path / "c.jsonl")
    for name in ("report.json", "report.md"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.md").write_text("theirs")
        with pytest.raises(RunError, match=r"report\.md exists; replace it by --overwrite, or name another"):
            use.evaluate(tmp_path / "c.jsonl", manifest, out=tmp_path / name)


def test_temporary_names_are_nobodys_and_nothing_is_left_of_what_failed(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    taken = {name: tmp_path / name for name in ("config.json.new", ".config.json.new", "config.new")}
    for path in taken.values():
        path.write_text("theirs")
    names = {beside(file) for _ in range(100)}
    assert len(names) == 100
    write_atomically(file, "ours")
    with pytest.raises(ZeroDivisionError), replacing(file) as new:
        new.write_text(str(1 / 0))
    assert files(tmp_path) == {**dict.fromkeys(taken, b"theirs"), "config.json": b"ours"}


def test_what_a_killed_run_left_half_written_is_its_own(tmp_path: Path) -> None:
    open_run(tmp_path, "sft", TINY, False, False)
    for name in ("config.json", "metrics.jsonl", "report.md"):
        beside(tmp_path / name).write_text("ours")
    (tmp_path / ".notes.01234567.new").write_text("theirs")
    open_run(tmp_path, "sft", TINY, resume=False, overwrite=True)
    assert files(tmp_path).keys() == {"config.json", "run.json", ".notes.01234567.new"}


def test_a_second_export_to_a_directory_is_told_who_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(overwrite: bool) -> None:
        directory.write(TINY, params, tokenizer, "card", tmp_path / "cap", overwrite=overwrite)

    def fill(new: Path, *_: object) -> None:
        (new / "emojax.json").write_text("first")
        with pytest.raises(RunError, match=rf"cap is being written by process {os.getpid()} on "):
            write(overwrite=True)

    params, tokenizer = param.abstract(captioner.declare(TINY)), train_tokenizer(["calm"], 300)
    monkeypatch.setattr(directory, "_fill", fill)
    for overwrite in (False, True):
        write(overwrite)
        assert files(tmp_path) == {"cap/emojax.json": b"first"}
    (tmp_path / "cap.lock").write_text("theirs")
    with pytest.raises(RunError, match=r"cap\.lock is no lock of a writer, but stands in its place; move it away"):
        write(overwrite=True)
    assert files(tmp_path) == {"cap/emojax.json": b"first", "cap.lock": b"theirs"}


def test_an_export_replaces_what_an_export_wrote_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(new: Path, *_: object) -> None:
        (new / "decoder").mkdir()
        for name in ("emojax.json", "README.md", "decoder/config.json"):
            (new / name).write_text(says[0])

    says, params = ["old"], param.abstract(captioner.declare(TINY))
    monkeypatch.setattr(directory, "_fill", fill)
    directory.write(TINY, params, train_tokenizer(["calm"], 300), "card", tmp_path / "cap")
    theirs = ["cap.new/notes", "cap/.git/config.json", "cap/decoder/notes", "cap/figure.png"]
    for name in [*theirs, "cap/audio/model.safetensors", "cap/plot-scores.svg"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("theirs")
    says[:] = ["new"]
    directory.write(TINY, params, train_tokenizer(["calm"], 300), "card", tmp_path / "cap", overwrite=True)
    ours = dict.fromkeys(("cap/emojax.json", "cap/README.md", "cap/decoder/config.json"), b"new")
    assert files(tmp_path) == {**ours, **dict.fromkeys(theirs, b"theirs")}
    assert not (tmp_path / "cap" / "audio").exists(), "this one has no such part"

    def full(new: Path, *_: object) -> None:
        fill(new)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(directory, "_fill", full)
    with pytest.raises(WriteError, match="cap could not be written: No space left on device"):
        directory.write(TINY, params, train_tokenizer(["calm"], 300), "card", tmp_path / "cap", overwrite=True)
    assert files(tmp_path) == {**ours, **dict.fromkeys(theirs, b"theirs")}
