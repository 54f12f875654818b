"""Where nothing can be written any more it is one line: what, why, how much is free, what to do; then it goes on."""

import json
import resource
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from emojax.captioning import caption_file
from emojax.config import Corpus, presets
from emojax.corpus.synthetic import make_corpus
from emojax.data.clips import Clip
from emojax.data.feature_files import Broken, open_features, write_features
from emojax.data.text import train_tokenizer
from emojax.errors import WriteError
from emojax.evaluation import write_report
from emojax.storage import RESUME, Appending, write_atomically, writing
from emojax.training import lock
from emojax.training.watchdog import Watchdog
from support.small_disk import Disk, mounted
from support.small_loop import run
from test_cli import files
from test_stop import lines
from test_watchdog import Clock

FULL = r"could not be written: No space left on device \(\d[\d,.]* MB free there\); make room, then "
EVERY_STEP = ("checkpoint_every=1", "keep=9", "sample_every=1")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with mounted(tmp_path / "disk") as found:
        yield found


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("unbroken")
    return out, run(out, settings=EVERY_STEP).params["w"]


@pytest.mark.parametrize("size", [4, 44, 140])  # before the first step, in the first checkpoint, in the third
def test_a_run_whose_disk_was_full_ends_as_the_unbroken(
    size: int, disk: Disk, unbroken: tuple[Path, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    out = disk.path / "run"
    disk.hold(size << 10)
    with pytest.raises(WriteError, match=rf"^{out}\S* {FULL}go on with --resume$"):
        run(out, settings=EVERY_STEP)
    assert "Traceback" not in capfd.readouterr().err
    disk.make_room()
    np.testing.assert_array_equal(run(out, settings=EVERY_STEP).params["w"], unbroken[1])
    assert lines(out) == lines(unbroken[0])
    assert not list((out / "checkpoints").glob("*tmp*"))


def test_a_run_whose_place_was_barred_ends_as_the_unbroken(disk: Disk, unbroken: tuple[Path, Any]) -> None:
    disk.make_room()
    run(disk.path / "run", settings=EVERY_STEP, steps=3)
    disk.bar()
    barred = r"could not be written: Read-only file system .*; let this user write there, or name another place, then"
    for write in (lambda: run(disk.path / "run", settings=EVERY_STEP), lambda: lock.run(disk.path / "run").__enter__()):
        with pytest.raises(WriteError, match=barred):
            write()
    disk.make_room()
    np.testing.assert_array_equal(run(disk.path / "run", settings=EVERY_STEP).params["w"], unbroken[1])


def test_a_limit_of_a_files_size_is_told_and_a_half_line_is_cut(tmp_path: Path) -> None:
    """What an ordinary user may set, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(Appending(tmp_path / "c.jsonl", RESUME)) as file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            file.write(json.dumps({"id": "a"}).encode() + b"\n")
            with pytest.raises(WriteError, match=r"c\.jsonl could not be written: File too large .*ulimit -f"):
                file.write(json.dumps({"id": "b" * 200}).encode() + b"\n")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "c.jsonl").stat().st_size == 100
    assert caption_file.written(tmp_path / "c.jsonl") == ["a"]


def test_captions_go_on_where_there_was_no_room(disk: Disk) -> None:
    clips = [Clip(f"clip {n}", transcript="so") for n in range(9)]
    model: Any = SimpleNamespace(
        cfg=presets.load("tiny"),
        params={"w": jnp.zeros(3)},
        reward=None,
        tokenizer=train_tokenizer(["a calm voice"], 300),
        records=lambda left, *_: ({"id": clip.id, "caption": "calm" * 1000} for clip in left),
    )
    out = disk.path / "c.jsonl"
    disk.hold(24 << 10)
    with pytest.raises(WriteError, match=FULL + "go on with --resume"):
        caption_file.write(model, clips, out)
    disk.make_room()
    assert caption_file.write(model, clips, out, resume=True)["clips"] < 9
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == [clip.id for clip in clips]
    assert files(disk.path).keys() == {"c.jsonl", "c.jsonl.settings.json"}


def test_the_corpus_features_and_reports_are_whole_or_not_there(disk: Disk) -> None:
    disk.hold(100 << 10)
    with pytest.raises(WriteError, match=FULL + "run the same command again"):
        make_corpus(disk.path / "corpus", Corpus(clips=4, speakers=3), processes=1)
    with pytest.raises(WriteError, match=FULL):
        write_features(disk.path, 0, {}, {}, {"audio/a": np.zeros((99, 999), np.float32)}, {"b": Broken("b", "", 0)})
    row = {"tokenization": "", "clips": 1} | dict.fromkeys(
        ("reward", "bleu1", "bleu4", "rouge_l", "meteor", "vocabulary", "distinct2"), 0.0
    )
    rows = {f"a{n}": row | dict.fromkeys(("sbert", "emotion_similarity", "emotion_accuracy")) for n in range(999)}
    with pytest.raises(WriteError, match=FULL):
        write_report(disk.path / "report", rows, {})
    assert files(disk.path) == {}
    assert open_features(disk.path) is None
    disk.make_room()
    assert make_corpus(disk.path / "corpus", Corpus(clips=4, speakers=3), processes=1).is_file()


def test_the_watchdog_lives_on_where_its_file_cannot_be_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clock, said = Clock(), ""
    with closing(Watchdog(tmp_path / "gone" / "stalls.txt", "the run", 0.1, clock)) as watchdog:
        for step in range(1, 7):
            watchdog.finished(step)
        for step in (7, 8):
            clock.now += 100
            deadline = time.monotonic() + 30
            while said.count(f"step {step} of the run has taken") < 1 and time.monotonic() < deadline:
                said += capfd.readouterr().err
                time.sleep(0.02)
            watchdog.finished(step)
    said += capfd.readouterr().err
    assert said.count("has taken") == 2
    assert said.count("stalls.txt could not be written: No such file or directory") == 2


def test_what_is_no_want_of_room_passes_and_what_a_library_says_in_words_is_understood(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing(tmp_path):
        _ = 1 / 0
    for error in (RuntimeError("I/O error: No space left on device (os error 28)"), ValueError("Disk quota exceeded")):
        with pytest.raises(WriteError, match="make room"), writing(tmp_path):
            raise error
    write_atomically(tmp_path / "a", "ours")
    with pytest.raises(WriteError, match="Is a directory"):
        write_atomically(tmp_path, "ours")
