"""A served captioner says what `emojax caption` says, whoever else asks and however oddly."""

import concurrent.futures
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from emojax.captioning import Decoding
from emojax.data.clips import Clip
from emojax.data.reader import Decoded
from emojax.serving import openapi
from emojax.serving.ask import Ask
from emojax.serving.queue import Queue
from emojax.serving.shown import shown
from support.served import DRAWN, LIMITS, get, make_sounds, post, running
from test_caption_file import CFG, model

HOUSE = Path(__file__).parents[1] / "emojax"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running(LIMITS) as found:
        yield found


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_sounds(tmp_path_factory.mktemp("sounds"))


def words(record: dict[str, Any]) -> tuple[Any, ...]:
    return record["caption"], record["tokens"], round(record["logprob"], 2)


GREEDY = Decoding(batch_size=4, workers=0)


def of_the_command(clip: Clip, drawn: Decoding = GREEDY) -> dict[str, Any]:
    (record,) = model().records([clip], dataclasses.replace(drawn, workers=0))
    return record


def test_a_caption_is_that_of_the_command(port: int, sounds: dict[str, Path]) -> None:
    for name in ("short", "long", "beyond"):
        status, found = post(port, sounds[name].read_bytes(), transcript="go away")
        path = sounds[name]
        wanted = of_the_command(Clip("x", path, path, "go away"))
        assert status == 200
        assert words(found) == words(wanted)
        assert found.get("truncated_seconds") == wanted.get("truncated_seconds")
        assert (found["heard"], found["seen"]) == (True, False)
        assert found["probability"] == pytest.approx(np.exp(found["logprob"] / found["tokens"]))
    assert words(post(port, transcript="go away")[1]) == words(of_the_command(Clip("x", transcript="go away")))


def test_samples_are_those_of_the_command_by_the_same_seed_and_name(port: int, sounds: dict[str, Path]) -> None:
    path = sounds["short"]
    for seed in (0, 3):
        _, found = post(port, path.read_bytes(), id=str(path), samples=2, seed=seed)
        wanted = of_the_command(Clip(str(path), path, path), dataclasses.replace(DRAWN, seed=seed))
        assert list(map(words, found["samples"])) == list(map(words, wanted["samples"]))
        assert found["id"] == str(path)
        _, one = post(port, path.read_bytes(), id=str(path), samples=1, seed=seed)
        assert one["samples"] == found["samples"][:1]


def test_a_stream_that_is_switched_off_is_not_given(port: int, sounds: dict[str, Path]) -> None:
    content = sounds["long"].read_bytes()
    _, deaf = post(port, content, transcript="go away", audio="false")
    assert words(deaf) == words(post(port, transcript="go away")[1])
    assert not deaf["heard"]
    _, mute = post(port, content)
    assert words(mute) != words(post(port, content, transcript="go away")[1])


def test_what_is_shown_is_what_the_captioner_is_given(port: int, sounds: dict[str, Path]) -> None:
    _, record = post(port, sounds["beyond"].read_bytes(), show="true")
    assert record["shown"]["seconds"] == CFG.data.audio_seconds[-1]
    assert record["shown"]["frames"] == []
    low, high = np.array(record["shown"]["waveform"]).T
    heard, _ = soundfile.read(sounds["beyond"], frames=round(16_000 * CFG.data.audio_seconds[-1]))
    assert (low.min(), high.max()) == pytest.approx((heard.min(), heard.max()), abs=2e-3)
    assert record["shown"]["spectrogram"].startswith("data:image/png;base64,")
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    silent = shown(Decoded(None, frames, 0, True))
    assert (len(silent["frames"]), silent["waveform"], silent["seconds"]) == (3, None, 0.0)


LATE = b"x" * 4096


def test_answers_are_as_the_schema_says(port: int, sounds: dict[str, Path]) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="comes with nbformat")
    document = json.loads(get(port, "/openapi.json")[1])
    operation = document["paths"]["/caption"]["post"]
    assert [one["name"] for one in operation["parameters"]] == [field.name for field in dataclasses.fields(Ask)]
    defaults = {one["name"]: one["schema"].get("default") for one in operation["parameters"]}
    assert defaults == vars(Ask())
    answers = [post(port, sounds["beyond"].read_bytes(), samples=2, show="true"), post(port), post(port, b"RIFF")]
    for status, record in answers:
        ref = operation["responses"][str(status)]["content"]["application/json"]["schema"]
        jsonschema.validate(record, {**ref, "components": document["components"]})
    emotional = {**answers[0][1], "emotions": {"sad": 0.5}}
    jsonschema.validate(emotional, {"$ref": "#/components/schemas/Record", "components": document["components"]})
    assert openapi.schema(json.loads(get(port, "/about")[1])) == document


def test_requests_at_once_are_answered_each_with_its_own(port: int, sounds: dict[str, Path]) -> None:
    many(port, sounds, 40, 10)


def many(port: int, sounds: dict[str, Path], count: int, threads: int) -> None:
    """Requests of both lengths, with and without sound; every answer is compared."""
    kinds = [sounds["short"], None, sounds["long"]]
    clips = [Clip("clip", p := kinds[i % 3], p, f"{i % 50:02} is the number") for i in range(count)]
    apart = {(c.audio, c.transcript): c for c in clips}
    named = {f"{n}": dataclasses.replace(c, id=f"{n}") for n, c in enumerate(apart.values())}
    wanted = {r["id"]: words(r) for r in model().records(list(named.values()), Decoding(batch_size=4, workers=0))}
    of = {key: wanted[str(n)] for n, key in enumerate(apart)}
    assert len(set(of.values())) > len(of) // 2

    def one(clip: Clip) -> bool:
        body = clip.audio.read_bytes() if isinstance(clip.audio, Path) else b""
        status, record = post(port, body, transcript=clip.transcript)
        return status == 200 and words(record) == of[clip.audio, clip.transcript]

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        assert sum(pool.map(one, clips)) == count


def test_nothing_is_left_of_an_upload(port: int, sounds: dict[str, Path]) -> None:
    def open_files() -> list[str]:
        return [link for fd in os.listdir("/proc/self/fd") if "clip" in (link := _link(fd))]

    before = set(os.listdir(tempfile.gettempdir()))
    for content in (sounds["short"].read_bytes(), b"RIFF"):
        post(port, content)
    assert open_files() == []
    assert not [name for name in set(os.listdir(tempfile.gettempdir())) - before if name.startswith("emojax-")]


def _link(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def test_a_batch_that_breaks_is_told_and_the_next_is_answered(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a secret path")

    with monkeypatch.context() as patched:
        patched.setattr(Queue, "_captioned", broken)
        status, record = post(port, transcript="x")
        assert status == 500
        assert "secret" not in record["error"]
    assert post(port, transcript="x")[0] == 200


def test_nothing_else_needs_what_serving_needs() -> None:
    """No file outside the room imports its libraries, and none but the command's imports the room."""
    for path in HOUSE.rglob("*.py"):
        named = set(re.findall(r"^ *(?:from|import) (starlette|uvicorn|anyio|emojax\.serving)", path.read_text(), re.M))
        room = path.relative_to(HOUSE).parts[0]
        assert not named or room == "serving" or path == HOUSE / "commands" / "serve.py", path


@pytest.mark.slow
def test_a_thousand_requests_are_all_answered_with_their_own_in_flat_memory(sounds: dict[str, Path]) -> None:
    def resident() -> float:
        return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024

    with running(LIMITS) as port:
        many(port, sounds, 200, 32)
        before = resident()
        many(port, sounds, 1000, 32)
        assert resident() < before + 50, "MB"


@pytest.mark.slow
def test_a_client_that_is_killed_harms_nobody(port: int, sounds: dict[str, Path]) -> None:
    ask = "import sys, urllib.request as r\nwhile True:\n r.urlopen(sys.argv[1], open(sys.argv[2], 'rb').read()).read()"
    url = f"http://127.0.0.1:{port}/caption"
    clients = [subprocess.Popen([sys.executable, "-c", ask, url, str(sounds["long"])]) for _ in range(4)]
    time.sleep(3)
    for client in clients:
        client.send_signal(signal.SIGKILL)
        client.wait()
    many(port, sounds, 40, 10)
