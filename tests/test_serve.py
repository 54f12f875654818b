"""A served captioner says what `emojax caption` says, whoever else asks and however oddly."""

import ast
import concurrent.futures
import dataclasses
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
import soundfile

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from emojax.captioning import Decoding
from emojax.config import ConfigError, Data, Sampling
from emojax.data.clips import Clip
from emojax.data.reader import Decoded
from emojax.serving import media, openapi
from emojax.serving.app import application
from emojax.serving.ask import Ask
from emojax.serving.guard import LOCAL
from emojax.serving.limits import Limits
from emojax.serving.queue import Queue
from emojax.serving.server import bound, server
from emojax.serving.shown import shown
from support import dying
from test_caption_file import CFG, model

HOUSE = Path(__file__).parents[1] / "emojax"
DRAWN = Decoding(batch_size=4, samples=2, sampling=Sampling(temperature=1.5), seed=0)
LIMITS = Limits(max_bytes=200_000, max_seconds=5.0, upload_timeout=3.0)


@contextmanager
def running(limits: Limits, drawn: Decoding = DRAWN) -> Iterator[int]:
    """A server of the little captioner; its port."""
    listening = bound("127.0.0.1", 0)
    runs = server(application(Queue(model(), drawn), limits, (*LOCAL, "captions.test")), limits)
    thread = threading.Thread(target=runs.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        while not runs.started:
            time.sleep(0.01)
        yield listening.getsockname()[1]
    finally:
        runs.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running(LIMITS) as found:
        yield found


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sounds")
    found = {}
    for name, seconds in (("short", 0.4), ("long", 1.2), ("beyond", 2.0), ("endless", 6.0)):
        found[name] = folder / f"{name}.wav"
        noise = np.random.default_rng(len(name)).normal(size=round(16_000 * seconds)) * 0.1
        soundfile.write(found[name], noise, 16_000)
    return found


def post(port: int, body: bytes = b"", headers: dict[str, str] | None = None, **query: Any) -> tuple[int, Any]:
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        asked.request("POST", f"/caption?{urlencode(query)}", body, headers or {})
        answer = asked.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        asked.close()


def get(port: int, path: str) -> tuple[http.client.HTTPResponse, str]:
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        asked.request("GET", path)
        answer = asked.getresponse()
        return answer, answer.read().decode()
    finally:
        asked.close()


def raw(port: int, text: bytes, wait: float = 30.0) -> bytes:
    """What comes back until the server hangs up, or nothing more comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as line:
        line.sendall(text)
        parts = []
        try:
            while part := line.recv(65536):
                parts.append(part)
        except TimeoutError:
            pass
    return b"".join(parts)


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
    silent = shown(Decoded(None, frames, 0, True), Data())
    assert (len(silent["frames"]), silent["waveform"], silent["seconds"]) == (3, None, 0.0)


LATE = b"x" * 4096
REFUSED = [  # status, body, headers, query, a part of the one line that is told
    (400, b"", {}, {}, "nothing to caption"),
    (400, b"RIFF", {}, {"audio": "false", "video": "false"}, "nothing to caption"),
    (400, b"", {}, {"transcrip": "x"}, "no parameter 'transcrip', did you mean 'transcript'?"),
    (400, b"", {}, {"transcript": "x" * 2001}, "at most 2000 characters, got 2001"),
    (400, b"", {}, {"transcript": "a\0b"}, "no text"),
    (400, b"", {}, {"transcript": "x", "samples": 3}, "from 0 to 2, got '3'"),
    (400, b"", {}, {"transcript": "x", "samples": "-1"}, "from 0 to 2"),
    (400, b"", {}, {"transcript": "x", "seed": "9" * 5000}, "from 0 to 4294967295"),
    (400, b"", {}, {"transcript": "x", "show": "yes"}, "true or false, got 'yes'"),
    (413, b"x" * 200_001, {}, {}, "at most 200000 are taken"),
    (422, b"RIFF", {}, {}, "the file is"),
    (422, b"\x00" * 100, {}, {}, "the file is not a media file"),
    (422, b"#!/bin/sh\nrm -rf /\n", {}, {}, "the file is not a media file"),
    (422, b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", {"Content-Type": "audio/wav"}, {}, "the file is not a media file"),
    (403, b"", {"Host": "evil.test"}, {"transcript": "x"}, "the Host of the request is none of"),
    (403, b"", {"Host": "localhost.evil.test"}, {"transcript": "x"}, "the Host of the request is none of"),
    (
        403,
        b"",
        {"Host": "evil.test:80@localhost:80@evil.test"},
        {"transcript": "x"},
        "the Host of the request is none of",
    ),
    (403, b"", {"Origin": "https://evil.test"}, {"transcript": "x"}, "of another origin"),
    (403, b"", {"Origin": "null"}, {"transcript": "x"}, "of another origin"),
    (200, b"", {"Host": "localhost:1", "Origin": "http://127.0.0.1:2"}, {"transcript": "x"}, None),
    (200, b"", {"Host": "Captions.Test"}, {"transcript": "x"}, None),
]


@pytest.mark.parametrize(("status", "body", "headers", "query", "told"), REFUSED)
def test_what_cannot_be_answered_is_one_line(
    port: int, status: int, body: bytes, headers: dict[str, str], query: dict[str, Any], told: str | None
) -> None:
    found, record = post(port, body, headers, **query)
    assert found == status, record
    if told is not None:
        assert list(record) == ["error"]
        assert told in record["error"]
        assert "\n" not in record["error"]
        assert "/proc" not in record["error"]


def test_a_recording_that_is_too_long_is_refused(port: int, sounds: dict[str, Path]) -> None:
    assert post(port, sounds["endless"].read_bytes()[:0] + sounds["endless"].read_bytes())[0] == 413
    assert post(port, sounds["long"].read_bytes())[0] == 200


ODD = [  # a request as it is on the line, and the status that answers it
    (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
    (b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
    (b"GET //evil.test/page.js HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
    (b"GET http://evil.test/about HTTP/1.1\r\nHost: evil.test\r\n\r\n", b"403"),
    (b"GET /caption HTTP/1.1\r\nHost: localhost\r\n\r\n", b"405"),
    (b"GET /about HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n\r\n", b"400"),
    (b"GET /about HTTP/1.0\r\n\r\n", b"403"),
    (b"GET /about HTTP/1.1\r\nHost: local\xffhost\r\n\r\n", b"40"),
    (b"GET /about HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000, b"400"),
    (b"POST /caption?id=a%0d%0aSet-Cookie:x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", b"400"),
    (b"POST /caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", b"400"),
    (b"POST /caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n", b"400"),
    (
        b"POST /caption HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n" + b"x" * 300_000,
        b"413",
    ),
    (b"\x16\x03\x01 no HTTP at all\r\n\r\n", b"400"),
]


@pytest.mark.parametrize(("asked", "status"), ODD)
def test_odd_requests_are_refused_and_inject_nothing(port: int, asked: bytes, status: bytes) -> None:
    closing = asked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1) if b"HTTP/1.1\r\n" in asked else asked
    answer = raw(port, closing)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b" ")[1].startswith(status), answer[:300]
    assert b"set-cookie" not in head.lower()
    assert b"root:" not in body


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "text/html"), ("/page.js", "text/javascript"), ("/plots.js", "text/javascript"), ("/page.css", "text/css")],
)
def test_the_page_is_served_and_may_load_nothing_from_elsewhere(port: int, path: str, kind: str) -> None:
    answer, text = get(port, path)
    assert answer.status == 200
    assert (answer.getheader("content-type") or "").startswith(kind)
    assert "default-src 'none'" in (answer.getheader("content-security-policy") or "")
    assert answer.getheader("access-control-allow-origin") is None
    assert "://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "innerHTML" not in text


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


def test_who_comes_when_there_is_no_room_is_told_so() -> None:
    with running(dataclasses.replace(LIMITS, max_requests=1)) as port:
        with socket.create_connection(("127.0.0.1", port)) as waiting:
            waiting.sendall(b"POST /caption?transcript=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1")
            deadline = time.monotonic() + 10
            while (found := post(port, transcript="x"))[0] == 200 and time.monotonic() < deadline:
                pass
            assert found[0] == 503
            assert "try again" in found[1]["error"]
        deadline = time.monotonic() + 10
        while (found := post(port, transcript="x"))[0] != 200:
            assert time.monotonic() < deadline, "who hung up takes no room"


def test_who_is_too_slow_is_hung_up_on(port: int) -> None:
    """The head in a sixth of the time, the body in all of it; others are answered meanwhile."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as loris:
        loris.sendall(b"POST /caption HTTP/1.1\r\nHo")
        assert post(port, transcript="x")[0] == 200
        assert loris.recv(100) == b""
    assert time.monotonic() - began < 20
    head = b"POST /caption?transcript=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc"
    assert b"408" in raw(port, head).split(b"\r\n")[0]


def test_a_file_that_keeps_its_decoder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "probe", dying.hang)
    with pytest.raises(Exception, match="the file is not read after") as e:
        media.opened(b"x", Ask(), CFG.data, dataclasses.replace(LIMITS, decode_timeout=0.3))
    assert getattr(e.value, "status", None) == 422


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


def test_limits_that_let_nothing_through_are_refused() -> None:
    with pytest.raises(ConfigError, match="--max-bytes wants a positive number, got 0"):
        Limits(max_bytes=0)


def test_a_port_that_is_taken_is_told(port: int) -> None:
    with pytest.raises(OSError, match=rf"127.0.0.1:{port}: .*--port"):
        bound("127.0.0.1", port)


def test_nothing_else_needs_what_serving_needs() -> None:
    """No file outside the room imports its libraries, and no room but the commands imports it."""
    for path in HOUSE.rglob("*.py"):
        room = path.relative_to(HOUSE).parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            foreign = {name.partition(".")[0] for name in names} & {"starlette", "uvicorn", "anyio"}
            assert not foreign or room == "serving" or path.name == "serve.py", path
            assert not any(n.startswith("emojax.serving") for n in names) or room in ("serving", "commands"), path


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
