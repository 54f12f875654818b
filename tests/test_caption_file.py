"""A file of captions: of each clip one line, whatever batch it was in, however often the writing was killed."""

import dataclasses
import functools
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import soundfile

from emojax import captioning, param
from emojax.captioning import Decoding, caption_file
from emojax.config import ConfigError, Sampling, presets
from emojax.data import text
from emojax.data.clips import Clip, read_manifest, write_manifest
from emojax.data.text import train_tokenizer
from emojax.decoder import captioner
from emojax.errors import RunError
from emojax.parallel import sharding

CFG = presets.load("tiny", ["audio_seconds=0.5,1.5", "decoder.vocab=300", "decoder.layers=1", "caption_tokens=9"])
CFG = dataclasses.replace(CFG, model=dataclasses.replace(CFG.model, video=None))
DRAWN = {"samples": 2, "sampling": Sampling(temperature=1.5), "seed": 3}


@functools.cache
def model(seed: int = 0) -> captioning.Captioner:
    """Of random weights, whose captions are of random bytes."""
    params = jax.tree.map(lambda x: 2 * x, param.init(captioner.declare(CFG), jax.random.key(seed)))
    mesh = sharding.make_mesh(CFG, jax.devices()[:1])
    return captioning.Captioner(CFG, params, train_tokenizer(["a calm voice"], 300), None, None, mesh)


def make_clips(folder: Path, count: int) -> list[Clip]:
    """Of two lengths in no order, one in twelve broken, one in seven with words alone."""
    for name, seconds in (("short", 0.4), ("long", 1.2)):
        noise = np.random.default_rng(len(name)).normal(size=round(16_000 * seconds)) * 0.1
        soundfile.write(folder / f"{name}.wav", noise, 16_000)
    (folder / "cut.wav").write_bytes((folder / "long.wav").read_bytes()[:5000])
    draw = random.Random(1)

    def clip(i: int) -> Clip:
        if i % 7 == 3:
            return Clip(f"clip {i}", transcript=f"number {i}")
        sound = "cut" if i % 12 == 5 else draw.choice(["short", "short", "short", "long"])
        return Clip(f"clip {i}", audio=folder / f"{sound}.wav", transcript=f"clip {i}")

    return [clip(i) for i in range(count)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return make_clips(tmp_path_factory.mktemp("sounds"), 50)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def said(records: list[dict[str, Any]]) -> dict[str, Any]:
    """By id all that a record says; log-probabilities to where the order of sums shows."""

    def rounded(value: Any) -> Any:
        if isinstance(value, list):
            return [{k: rounded(v) for k, v in one.items()} for one in value]
        return round(value, 2) if isinstance(value, float) else value

    found = {record["id"]: {k: rounded(v) for k, v in record.items()} for record in records}
    assert len(found) == len(records)
    return found


@pytest.mark.parametrize(
    "how", [pytest.param({}, id="greedy", marks=pytest.mark.slow), pytest.param(DRAWN, id="drawn")]
)
def test_a_caption_depends_on_its_clip_alone(clips: list[Clip], how: dict[str, Any]) -> None:
    """Not on the neighbours in its batch, the batch's size, the order of the clips, the workers, or a resume."""
    usual = list(model().records(clips, Decoding(batch_size=4, workers=0, **how)))
    assert [r["id"] for r in usual] != [c.id for c in clips]
    captions = [r["caption"] for r in usual if "caption" in r]
    assert len(set(captions)) > len(captions) * 0.5, "captions so alike that nothing could be seen in them"
    others = {
        "backwards": model().records(clips[::-1], Decoding(batch_size=4, workers=2, ordered=True, **how)),
        "batch": model().records(clips, Decoding(batch_size=7, workers=0, **how)),
        "alone": (r for c in clips[:6] for r in model().records([c], Decoding(batch_size=4, workers=0, **how))),
    }
    for name, records in others.items():
        found = said(list(records))
        assert found == {k: v for k, v in said(usual).items() if name != "alone" or k in found}, name


def test_order_is_kept_where_it_is_asked_for(clips: list[Clip]) -> None:
    for some in (clips, clips[::-1], clips[:1], clips[5:6]):  # the last one is broken
        assert [r["id"] for r in model().records(some, Decoding(batch_size=4, workers=0, ordered=True))] == [
            c.id for c in some
        ]
    with pytest.raises(ConfigError, match="'clip 0' is the id of more than one"):
        list(model().records([clips[0]] * 2, Decoding(batch_size=4, workers=0, ordered=True)))


def test_only_the_lengths_that_occur_are_compiled(clips: list[Clip]) -> None:
    """The first caption waits for no program but its own."""
    short = [c for c in clips if c.audio is not None and c.audio.stem == "short"]
    long = next(c for c in clips if c.audio is not None and c.audio.stem == "long")
    programs: list[str] = []

    def note(event: str, duration: float, **about: str | int) -> None:
        if "backend_compile" in event and "caption_step" in str(about.get("fun_name")):
            programs.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    told: list[float] = []
    records = model().records([*short[:5], long], Decoding(batch_size=5, workers=0), told.append)
    for there, _ in zip((1, 1, 1, 1, 1, 2), records, strict=True):
        assert len(programs) == len(told) == there
    assert len(list(model().records(short, Decoding(batch_size=5, workers=0)))) == len(short)
    assert len(programs) == 2


def test_what_waits_for_its_turn_is_bounded(clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    """A clip whose length is rare comes first: the others must not all be captioned before it is written."""
    long = next(c for c in clips if c.audio is not None and c.audio.stem == "long")
    many = [long] + [dataclasses.replace(clips[0], id=f"many {i}", audio=None) for i in range(300)]
    made, decode = 0, text.decode

    def counted(*caption: Any) -> str:
        nonlocal made
        made += 1
        return decode(*caption)

    monkeypatch.setattr(text, "decode", counted)
    records = model().records(many, Decoding(batch_size=4, workers=0, ordered=True))
    assert next(records)["id"] == long.id
    assert made <= (16 + 2) * 4, "16 batches are read after a clip that waits"
    assert len(list(records)) == 300


@pytest.mark.parametrize("ordered", [True, False])
def test_a_file_cut_anywhere_is_gone_on_with(clips: list[Clip], tmp_path: Path, ordered: bool) -> None:
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    how = {"batch_size": 4, "workers": 0, "ordered": ordered}
    assert caption_file.write(model(), clips, whole, Decoding(**how))["errors"] == 3
    assert len(lines(whole)) == 50
    data = whole.read_bytes()
    caption_file.write(model(), clips[:1], out, Decoding(**how))  # for its settings
    wide = next(i for i, byte in enumerate(data) if byte >= 0xE0) + 1  # within a character
    for cut in (0, 1, wide, data.index(b"\n"), data.index(b"\n") + 1, len(data) // 2, len(data) - 1, len(data)):
        out.write_bytes(data[:cut])
        done = caption_file.write(model(), clips, out, Decoding(**how), resume=True)
        assert done["clips"] == 50 - data[:cut].count(b"\n")
        assert said(lines(out)) == said(lines(whole))
        assert out.read_bytes().startswith(data[: data[:cut].rfind(b"\n") + 1])
        if ordered:
            assert [r["id"] for r in lines(out)] == [c.id for c in clips]


def test_a_file_is_not_gone_on_with_by_another_model(clips: list[Clip], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    caption_file.write(model(), clips[:8], out, Decoding(batch_size=4, workers=0))
    before = out.read_bytes()
    other = dataclasses.replace(CFG, data=dataclasses.replace(CFG.data, frames=3), caption_tokens=8)
    retrained = train_tokenizer(["a calm voice, and another"], 300)
    for message, changed, how in (
        (r"\n  weights: '.*' there, '.*' now\n", model(1), {}),
        (r"\n  samples: 1 there, 2 now\n  sampling.*: None there.*\n  seed: None there, 3 now\n", model(), DRAWN),
        (r"\n  ordered: False there, True now\n", model(), {"ordered": True}),
        (r"\n  tokenizer: ", dataclasses.replace(model(), tokenizer=retrained), {}),
        (r"\n  caption_tokens: 9 .*\n  data.frames: 2 there, 3 now\n", dataclasses.replace(model(), cfg=other), {}),
    ):
        with pytest.raises(RunError, match=rf"(?s)begun by another model or with other settings:.*{message}"):
            caption_file.write(changed, clips, out, Decoding(batch_size=4, workers=0, **how), resume=True)
    (tmp_path / "out.jsonl.settings.json").rename(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"out\.jsonl\.settings\.json is not beside it"):
        caption_file.write(model(), clips, out, Decoding(batch_size=4, workers=0), resume=True)
    (tmp_path / "elsewhere").rename(tmp_path / "out.jsonl.settings.json")
    assert out.read_bytes() == before
    smaller = caption_file.write(model(), clips[:12], out, Decoding(batch_size=2, workers=1), resume=True)
    assert smaller["clips"] == 4, "neither the batch size nor the workers make another caption"


def test_order_cannot_be_gone_on_with_for_other_clips(clips: list[Clip], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    caption_file.write(model(), clips[:6], out, Decoding(batch_size=4, workers=0, ordered=True))
    with pytest.raises(RunError, match="does not hold the first 6 of these clips in order"):
        caption_file.write(model(), clips[1:], out, Decoding(batch_size=4, workers=0, ordered=True), resume=True)


def test_a_line_that_is_no_caption_is_named(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert caption_file.written(out) == []
    out.write_text('{"id": "a", "caption": "悲"}\n{"caption": "b"}\n{"id', encoding="utf-8")
    with pytest.raises(RunError, match="line 2 is no caption"):
        caption_file.written(out)


def test_a_file_name_need_not_be_unicode(clips: list[Clip], tmp_path: Path) -> None:
    name, out = os.fsdecode(b"voice \xff.wav"), tmp_path / "out.jsonl"
    for _ in range(2):
        caption_file.write(model(), [Clip(name, transcript="hm")], out, Decoding(batch_size=4, workers=0), resume=True)
    assert [r["id"] for r in lines(out)] == caption_file.written(out) == [name]


def test_what_a_screen_cannot_show_is_escaped() -> None:
    record = {"id": os.fsdecode(b"voice \xff.wav"), "caption": "平静"}
    assert json.loads(caption_file.line(record, "ascii")) == json.loads(caption_file.line(record, "utf-8")) == record
    caption_file.line(record, "ascii").encode("ascii")
    assert "平静" in caption_file.line({"caption": "平静"}, "utf-8")


def test_a_clip_longer_than_the_last_bucket_is_said_to_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, seconds in (("long", 2.25), ("whole", 1.5), ("padded", 1.55)):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(round(16_000 * seconds)), 16_000)
    paths = [tmp_path / f"{name}.wav" for name in ("long", "whole", "padded")]
    with caplog.at_level("WARNING"):
        records = model().caption(paths)
    assert [record.get("truncated_seconds") for record in records] == [0.75, None, None]
    (message,) = [m for m in caplog.messages if "truncated_seconds" in m]
    assert message.startswith("clips longer than the last of data.audio_seconds, 1.5 s")
    assert "heard: 1;" in message


def test_numbers_that_are_not_finite_are_an_error_and_never_json(clips: list[Clip], tmp_path: Path) -> None:
    spoilt = dataclasses.replace(model(), params=jax.tree.map(lambda x: x * np.nan, model().params))
    caption_file.write(spoilt, clips[:3], tmp_path / "out.jsonl", Decoding(batch_size=4, workers=0))
    found = lines(tmp_path / "out.jsonl")
    assert ["not finite" in record["error"] for record in found] == [True] * 3
    assert "NaN" not in (tmp_path / "out.jsonl").read_text()


SCRIPT = """
import sys, time
from pathlib import Path
import conftest, test_caption_file as this
from emojax.captioning import Decoding, caption_file
from emojax.data.clips import read_manifest
if __name__ == "__main__":
    clips, out = read_manifest(Path(sys.argv[1])), Path(sys.argv[2])
    slow = lambda done, total: time.sleep(0.004)
    decoding = Decoding(batch_size=3, workers=1, ordered=sys.argv[3] == "True")
    caption_file.write(this.model(), clips, out, decoding, resume=True, progress=slow)
"""


def start(folder: Path, ordered: bool) -> subprocess.Popen[bytes]:
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, folder / "script.py", folder / "clips.jsonl", folder / "out.jsonl", str(ordered)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})


def killed_and_resumed(folder: Path, count: int, kills: int, ordered: bool) -> None:
    write_manifest(folder / "clips.jsonl", make_clips(folder, count))
    clips, out = read_manifest(folder / "clips.jsonl"), folder / "out.jsonl"
    for n in range(kills):
        with start(folder, ordered) as run:
            wanted = count * (n + 1) // (kills + 2)
            while run.poll() is None and not (out.exists() and out.read_bytes().count(b"\n") >= wanted):
                time.sleep(0.005)
            run.send_signal(signal.SIGKILL)
        assert 0 < out.read_bytes().count(b"\n") < count, "it was not killed midway"
    with start(folder, ordered) as run:
        assert run.wait(timeout=300) == 0
    found = lines(out)
    assert sorted(r["id"] for r in found) == sorted(c.id for c in clips)
    assert not ordered or [r["id"] for r in found] == [c.id for c in clips]
    assert sum("error" in r for r in found) == sum(c.audio is not None and c.audio.stem == "cut" for c in clips)
    assert all(math.isfinite(r["logprob"]) for r in found if "error" not in r)


@pytest.mark.slow
def test_killed_once_every_clip_is_there_once(tmp_path: Path) -> None:
    killed_and_resumed(tmp_path, 150, kills=1, ordered=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("ordered", [True, False])
def test_killed_often_every_clip_is_there_once(tmp_path: Path, ordered: bool) -> None:
    killed_and_resumed(tmp_path, 2000, kills=6, ordered=ordered)
