"""What a served captioner does not answer is refused in one line, and whoever is slow, odd or hostile harms nobody."""

import dataclasses
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from emojax.config import ConfigError, FeatureFilesConfig
from emojax.serving import media
from emojax.serving.ask import Ask
from emojax.serving.limits import Limits
from emojax.serving.queue import Queue
from emojax.serving.server import bound
from support import dying
from support.served import DRAWN, LIMITS, get, make_sounds, post, raw, running
from test_caption_file import CFG, model


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running(LIMITS) as found:
        yield found


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_sounds(tmp_path_factory.mktemp("sounds"))


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
    (403, b"", {"Host": "evil.test"}, {"transcript": "x"}, "the Host of the request"),
    (403, b"", {"Host": "localhost.evil.test"}, {"transcript": "x"}, "the Host of the request"),
    (
        403,
        b"",
        {"Host": "evil.test:80@localhost:80@evil.test"},
        {"transcript": "x"},
        "the Host of the request",
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
    assert post(port, sounds["endless"].read_bytes())[0] == 413
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
    (b"POST /caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", b"4"),
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


def test_who_is_too_slow_is_hung_up_on() -> None:
    """The head in a sixth of the time, the body in all of it; others are answered meanwhile."""
    with running(dataclasses.replace(LIMITS, upload_timeout=1.5)) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as loris:
            loris.sendall(b"POST /caption HTTP/1.1\r\nHo")
            assert post(port, transcript="x")[0] == 200
            assert loris.recv(100) == b""
        head = b"POST /caption?transcript=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc"
        assert b"408" in raw(port, head).split(b"\r\n")[0]


def test_a_file_that_keeps_its_decoder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "probe", dying.hang)
    with pytest.raises(Exception, match="the file is not read after") as e:
        media.opened(b"x", Ask(), CFG.data, dataclasses.replace(LIMITS, decode_timeout=0.3))
    assert getattr(e.value, "status", None) == 422


def test_limits_that_let_nothing_through_are_refused() -> None:
    with pytest.raises(ConfigError, match="--max-bytes wants a positive number, got 0"):
        Limits(max_bytes=0)


def test_a_captioner_that_reads_no_media_is_refused() -> None:
    from_files = dataclasses.replace(CFG.model, audio=FeatureFilesConfig(path="features", width=8))
    reads = dataclasses.replace(model(), cfg=dataclasses.replace(CFG, model=from_files))
    with pytest.raises(ConfigError, match="reads its audio from files of features"):
        Queue(reads, DRAWN)


def test_a_port_that_is_taken_is_told(port: int) -> None:
    with pytest.raises(OSError, match=rf"127.0.0.1:{port}: .*--port"):
        bound("127.0.0.1", port)
