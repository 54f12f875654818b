"""JSON that is not what it says: one error that names the file, never a traceback of something else."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emojax.api import scoring
from emojax.captioning import caption_file
from emojax.config import presets
from emojax.evaluation import by_clip
from emojax.evaluation.calibration import calibration
from emojax.export import card_scores
from emojax.report import run_page
from emojax.report.runs import read_run
from emojax.storage import parse_json, read_object
from emojax.training import executable, goodput, run, session
from emojax.training.log import cut_after
from support import made_run
from support.mutations import mutated, refusals


def mark(folder: Path) -> bytes:
    return json.dumps(goodput.to_json(goodput.Mark(1, 1.5, 3, {"step": 2.0}))).encode()


def report(_: Path) -> bytes:
    row = dict.fromkeys(("reward", "bleu1", "bleu4", "rouge_l", "meteor", "sbert", "emotion_similarity"), 0.5)
    row |= {"emotion_accuracy": None, "vocabulary": 7, "distinct2": 0.1, "clips": 3, "tokenization": "en: words"}
    row["calibration"] = calibration([0.2, 0.9, 0.95], [False, True, True])
    return json.dumps({"seed": 0, "grpo": row, "sft": row}).encode()


def carded(folder: Path) -> None:
    """All that is made of a report."""
    run_page.page_of(read_run(folder))
    card_scores.sections(card_scores.read_evaluation(folder), "grpo", made_run.ABOUT, ())


def scores(folder: Path) -> bytes:
    known = made_run.clips(3)
    made_run.write_run(folder / "run", known, {"grpo": {clip.id: "A sad woman" for clip in known}})
    return (folder / "run" / by_clip.FILE).read_bytes().strip()


def programs(_: Path) -> bytes:
    told = dict.fromkeys(("config", "topology", "fingerprint", "jax", "jaxlib", "compiler", "device"), "x")
    return executable.sealed(json.dumps({"sft": {**told, "devices": 1, "sizes": [2, 1]}}).encode() + b"\nabc")


READERS: dict[str, tuple[str, Callable[[Path], bytes], Callable[[Path], Any]]] = {
    "configuration": (
        "config.json",
        lambda _: presets.dumps(presets.load("tiny", ["model.audio.family=Whisper"])).encode(),
        lambda folder: presets.read_json(folder / "config.json"),
    ),
    "run": ("run.json", lambda _: b'{"stage": "sft"}', run.stage_of),
    "sessions": ("sessions.jsonl", mark, session.marks),
    "report": ("report.json", report, carded),
    "scores": (by_clip.FILE, scores, lambda folder: run_page.page_of(read_run(folder))),
    "captions to go on with": (
        "captions.jsonl",
        lambda _: b'{"id": "a", "caption": "sad"}\n',
        lambda folder: caption_file.written(folder / "captions.jsonl"),
    ),
    "captions to score": (
        "captions.jsonl",
        lambda _: b'{"id": "a", "caption": "sad"}',
        lambda folder: scoring.captions_of(folder / "captions.jsonl"),
    ),
    "compiled programs": ("programs", programs, lambda folder: executable.check(folder / "programs", "sft")),
}


def resealed(content: bytes, r: random.Random) -> bytes:
    """A file of programs with another header and a sum that is right."""
    header, newline, rest = content[len(executable.MAGIC) + 65 :].partition(b"\n")
    return executable.sealed(mutated(header, r) + newline + rest)


def last_line_mutated(content: bytes, r: random.Random) -> bytes:
    before, newline, line = content.rpartition(b"\n")
    return before + newline + mutated(line, r)


@pytest.mark.parametrize("count", [150, pytest.param(700, marks=pytest.mark.slow)])
@pytest.mark.parametrize("reader", READERS)
def test_a_mutated_file_is_read_or_named(reader: str, count: int, tmp_path: Path) -> None:
    name, write, read = READERS[reader]
    (tmp_path / name).write_bytes(write(tmp_path))
    read(tmp_path)
    mutate = {"programs": resealed, by_clip.FILE: last_line_mutated}.get(name, mutated)
    assert len(refusals(tmp_path / name, lambda: read(tmp_path), count, mutate=mutate)) > count // 5


def test_lines_of_a_damaged_log_are_left_out(tmp_path: Path) -> None:
    """A run is gone on with whatever its log has become: what cannot be read is written again or is lost."""
    path, r = tmp_path / "metrics.jsonl", random.Random(7)
    line = b'{"step": 2, "loss": 1.5}'
    for _ in range(150):
        path.write_bytes(b'{"step": 1, "loss": 2.0}\n' + mutated(line, r) + b'\n{"step": 3}\n{"step": 9}\n{"st')
        cut_after(path, 3)
        kept = [json.loads(one) for one in path.read_text().splitlines()]
        assert [one["step"] for one in kept if one["step"] != 2][-1] == 3
        assert kept[0] == {"step": 1, "loss": 2.0}
        assert all(one["step"] <= 3 for one in kept)


def test_what_is_damaged_in_a_log_is_not_on_the_page(tmp_path: Path) -> None:
    run, r = tmp_path / "run", random.Random(8)
    line = json.dumps({"step": 2, "loss": 1.5, "reward": -0.5, "grad_norm": 3.0}).encode()
    made_run.write_stage(run, "grpo", [{"step": 1, "loss": 7.25}])
    for _ in range(150):
        (run / "metrics.jsonl").write_bytes(b'{"step": 1, "loss": 7.25}\n' + mutated(line, r) + b'\n{"step": 3, "lo')
        assert ">7.25</td>" in run_page.page_of(read_run(run))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1, "a": 2}', "run.json: the key 'a' is there twice"),
        (b"\xff\xfe{", r"run.json: not UTF-8 \(byte 1\)"),
        (b'{"a": ', r"run.json: not JSON \(Expecting value, column 7\)"),
        (b"[" * 100_000, "run.json: nested too deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "run.json: Exceeds the limit .* digits"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "run.json: a Git LFS pointer"),
        (b"[]", "run.json: wanted an object, got list"),
        (b'{"a": ["so sad \\ud83d"]}', "run.json: half a character .*ud83d.*, as of an emoji that was cut"),
    ],
)
def test_what_is_wrong_is_told(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_object(tmp_path / "run.json")


def test_a_byte_order_mark_is_no_fault() -> None:
    assert parse_json("\ufeff{}".encode(), "a file") == {}
