"""`emojax caption`: what is asked for is done or refused, whatever the inputs are."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import soundfile

from emojax import captioning
from emojax.captioning import Decoding, caption_file
from emojax.commands import use
from emojax.config import ConfigError, Sampling
from emojax.data.clips import Clip
from emojax.errors import RunError
from emojax.parallel import sharding
from test_caption_file import CFG, lines, make_clips, model


def write(path: Path, seconds: float) -> Path:
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, np.random.default_rng(len(path.stem)).normal(size=round(16_000 * seconds)) * 0.1, 16_000)
    return path


@pytest.fixture
def caption(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command with the little captioner; gives its records."""
    monkeypatch.setattr(captioning, "load", lambda *_: model())

    def run(*files: Path, **flags: Any) -> list[dict[str, Any]]:
        capsys.readouterr()  # of a call that ended otherwise
        use.caption(files, model="none", workers=0, batch_size=4, **flags)
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def test_folders_are_walked_and_a_transcript_is_read(caption: Any, tmp_path: Path) -> None:
    one, other = write(tmp_path / "in" / "a.wav", 0.4), write(tmp_path / "in" / "b.flac", 0.4)
    found = caption(tmp_path / "in", one)
    assert sorted(record["id"] for record in found) == [str(one), str(other)]
    alone = next(record for record in found if record["id"] == str(one))
    (said,) = caption(one, transcript="quite another thing")
    assert said["caption"] != alone["caption"]
    with pytest.raises(ConfigError, match="--transcript is of one file, got 2"):
        caption(one, other, transcript="hm")


def test_top_p_alone_draws(caption: Any, tmp_path: Path) -> None:
    one = write(tmp_path / "a.wav", 0.4)
    (greedy,) = caption(one)
    assert caption(one, top_p=0.9, seed=1)[0]["caption"] != greedy["caption"]
    with pytest.raises(ConfigError, match="temperature wants a positive number, got 0"):
        caption(one, temperature=0.0)
    with pytest.raises(ConfigError, match="top_p wants a number in"):
        caption(one, top_p=0.0)


def test_where_nothing_could_be_captioned_the_exit_code_is_one(caption: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(SystemExit) as ended:
        caption(tmp_path / "broken.wav")
    assert ended.value.code == 1
    with pytest.raises(SystemExit) as ended:
        caption(tmp_path / "broken.wav", out=tmp_path / "out.jsonl")
    assert ended.value.code == 1
    assert len(caption(tmp_path / "broken.wav", write(tmp_path / "a.wav", 0.4))) == 2


def test_strict_counts_what_is_not_heard(caption: Any, tmp_path: Path) -> None:
    long = write(tmp_path / "long.wav", 3.2)
    with pytest.raises(RunError, match=r"0 files could not be decoded, 1 are longer than what is heard of them"):
        caption(long, strict=True)
    assert caption(long, strict=True, windows=True)[0]["windows"][-1]["to"] == 3.2


def test_a_long_recording_is_heard_window_by_window(tmp_path: Path) -> None:
    """Each window is captioned as a clip of its own would be, and no other record changes."""
    sound = np.random.default_rng(3).normal(size=round(3.2 * 16_000)).astype(np.float32) * 0.1
    whole = [Clip("long", audio=sound, transcript="hm", extra={"n": 1}), Clip("short", audio=sound[:8000])]
    parts = [Clip(f"long#{k}", audio=part, transcript="hm") for k, part in enumerate(np.array_split(sound, 3))]
    plain = {r["id"]: r for r in model().records([*parts, whole[1]], Decoding(batch_size=4, workers=0))}
    first, second = model().records(whole, Decoding(batch_size=4, workers=0, ordered=True, windows=True))
    assert second == plain["short"]
    assert (first["id"], first["extra"]) == ("long", {"n": 1})
    assert "truncated_seconds" not in first
    times = [(window["from"], window["to"]) for window in first["windows"]]
    assert times == [(0, 1.07), (1.07, 2.13), (2.13, 3.2)]
    assert [window["caption"] for window in first["windows"]] == [plain[f"long#{k}"]["caption"] for k in range(3)]
    assert first["caption"] == first["windows"][0]["caption"]


def test_the_best_of_several_is_the_one_of_the_most_probable_tokens() -> None:
    """By the whole caption's log-probability the shortest would win."""
    decoding = Decoding(batch_size=4, workers=0, samples=8, sampling=Sampling(temperature=1.5))
    records = list(model().records([Clip(str(i), transcript=f"number {i}") for i in range(4)], decoding))
    for record in records:
        each = [sample["logprob"] / sample["tokens"] for sample in record["samples"]]
        assert record["logprob"] / record["tokens"] == max(each)
    assert any(record["logprob"] < max(s["logprob"] for s in record["samples"]) for record in records)


@pytest.mark.parametrize("sampling", [None, Sampling()], ids=["greedy", "drawn"])
def test_every_device_captions_and_no_caption_depends_on_how_many_there_are(
    sampling: Sampling | None, tmp_path: Path
) -> None:
    clips = make_clips(tmp_path, 20)
    mesh = captioning.loading.make_mesh(CFG, jax.devices())
    assert dict(mesh.shape) == {"data": 8, "fsdp": 1, "model": 1}
    params = jax.device_put(model().params, sharding.replicated(mesh))
    many = dataclasses.replace(model(), mesh=mesh, params=params)
    decoding = Decoding(batch_size=4, sampling=sampling, workers=0)
    found = [{r["id"]: r.get("caption") for r in one.records(clips, decoding)} for one in (model(), many)]
    assert found[0] == found[1]


def test_a_record_carries_what_is_extra(tmp_path: Path) -> None:
    (tmp_path / "cut.wav").write_bytes(b"RIFF")
    clips = [Clip("a", transcript="hm", extra={"n": [1]}), Clip("b", audio=tmp_path / "cut.wav", extra={"n": 2})]
    found = {r["id"]: r.get("extra") for r in model().records(clips, Decoding(batch_size=4, workers=0))}
    assert found == {"a": {"n": [1]}, "b": {"n": 2}}


class Ended(BaseException):
    """As a process that is killed."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_host_of_eight_devices_captions_twenty_thousand_clips_in_flat_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every clip once, though it is ended midway; every device has an eighth of each batch. Two workers decode.

    EMOJAX_TEST_CLIPS is another number of clips.
    """
    count = int(os.environ.get("EMOJAX_TEST_CLIPS", "20000"))
    clips, out, resident, rows = make_clips(tmp_path, count), tmp_path / "out.jsonl", [], []
    mesh = captioning.loading.make_mesh(CFG, jax.devices())
    many = dataclasses.replace(model(), mesh=mesh, params=jax.device_put(model().params, sharding.replicated(mesh)))
    words = type(many).words

    def spread(self: Any, kept: Any, captions: Any) -> Any:
        rows.append({shard.index[0].indices(64)[:2] for shard in captions.ids.addressable_shards})
        return words(self, kept, captions)

    def note(done: int, total: int) -> None:
        if done % (count // 20) == 0:
            status = Path("/proc/self/status").read_text()
            resident.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)
        if done == count // 2 and resume is False:
            raise Ended

    monkeypatch.setattr(type(many), "words", spread)
    resume = False
    with pytest.raises(Ended):
        caption_file.write(many, clips, out, Decoding(batch_size=64, workers=2), progress=note)
    with out.open("a") as file:
        file.write('{"id": "clip 1", "capt')  # the line that it was writing
    resume = True
    caption_file.write(many, clips, out, Decoding(batch_size=64, workers=2), progress=note, resume=True)
    assert sorted(record["id"] for record in lines(out)) == sorted(clip.id for clip in clips)
    assert rows == [{(8 * n, 8 * n + 8) for n in range(8)}] * len(rows)
    print(f"{count} clips, {len(rows)} batches, MB: {[round(size) for size in resident]}")
    assert max(resident[2:]) < resident[1] + 100, "MB after a tenth of the clips, and the most later"
