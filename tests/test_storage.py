"""A run in a bucket: the same files by the same names. The bucket is in memory; checkpoints are TensorStore's part."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from emojax import storage
from emojax.commands.train import Run
from emojax.config import presets
from emojax.errors import RunError
from emojax.training.log import Log
from emojax.training.run import open_run, stage_of, trained

fsspec = pytest.importorskip("fsspec")
TINY = presets.load("tiny")


@pytest.fixture
def bucket() -> Iterator[Path]:
    from fsspec.implementations.memory import MemoryFileSystem

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fsspec, "filesystem", lambda *_, **__: MemoryFileSystem())
        patch.setitem(storage.DRIVERS, "gs", "fsspec")  # gcsfs may not be installed
        yield storage.path_of("gs://bucket/runs")
    MemoryFileSystem.store.clear()


def test_a_path_is_of_a_disk_or_of_a_bucket_however_it_came(bucket: Path) -> None:
    assert type(storage.path_of("runs/a")) is type(Path("runs/a"))
    for spelled in ("gs://bucket/a", Path("gs://bucket/a"), storage.path_of("gs://bucket") / "a"):
        assert str(storage.path_of(spelled)) == "gs://bucket/a"
    assert storage.in_bucket(Run(out=Path("gs://bucket/a")).out or Path())
    assert storage.path_of("x/a:/b") == Path("x/a:/b")
    with pytest.raises(ValueError, match=r"ftp:.*no such storage is known; wanted a local path or one of gs://"):
        storage.path_of("ftp://host/a")


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(storage.DRIVERS, "gs", "no_such_driver")
    with pytest.raises(ValueError, match=r"gs://b/a: .*pip install no_such_driver"):
        storage.path_of("gs://b/a")


def test_a_run_is_opened_refused_and_replaced_there(bucket: Path) -> None:
    out = bucket / "one"
    open_run(out, "sft", TINY, resume=False, overwrite=False)
    assert stage_of(out) == "sft"
    assert presets.load(str(out / "config.json")) == TINY
    assert trained(Path("gs://bucket/runs/one")) == out
    (out / "metrics.jsonl").write_text("{}")
    with pytest.raises(RunError, match="gs://bucket/runs/one already holds a run"):
        open_run(out, "sft", TINY, resume=False, overwrite=False)
    (out / "more").write_text("")
    open_run(out, "grpo", TINY, resume=False, overwrite=True)
    assert stage_of(out) == "grpo"
    assert not (out / "metrics.jsonl").exists()
    assert (out / "more").exists(), "it was not written by a run"


def test_lines_are_there_when_a_checkpoint_is_and_are_cut_where_it_ends(bucket: Path) -> None:
    def steps() -> list[int]:
        return [json.loads(line)["step"] for line in (bucket / "metrics.jsonl").read_text().splitlines()]

    log = Log(bucket, 0)
    for step in (1, 2):
        log.metrics(step, {"loss": 1.0}, {})
    log.keep()
    assert steps() == [1, 2]
    log.metrics(3, {"loss": 1.0}, {})
    log.close()
    assert steps() == [1, 2, 3]
    assert list((bucket / "tensorboard").iterdir())

    log = Log(bucket, 2)
    log.metrics(3, {"loss": 1.0}, {})
    log.metrics(4, {"loss": 1.0}, {})
    log.close()
    assert steps() == [1, 2, 3, 4]
