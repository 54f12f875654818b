"""A served captioner for tests, of the little model of test_caption_file, and a client that reads raw answers."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import soundfile

from emojax.captioning import Decoding
from emojax.config import Sampling
from emojax.serving.app import application
from emojax.serving.guard import LOCAL
from emojax.serving.limits import Limits
from emojax.serving.queue import Queue
from emojax.serving.server import bound, server
from test_caption_file import model

DRAWN = Decoding(batch_size=4, samples=2, sampling=Sampling(temperature=1.5), seed=0)
LIMITS = Limits(max_bytes=200_000, max_seconds=5.0, upload_timeout=30.0)


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


def make_sounds(folder: Path) -> dict[str, Path]:
    """Of noise: two that are heard to their ends, one that is not, one that is refused."""
    found = {}
    for name, seconds in (("short", 0.4), ("long", 1.2), ("beyond", 2.0), ("endless", 6.0)):
        found[name] = folder / f"{name}.wav"
        noise = np.random.default_rng(len(name)).normal(size=round(16_000 * seconds)) * 0.1
        soundfile.write(found[name], noise, 16_000)
    return found


def post(port: int, body: bytes = b"", headers: dict[str, str] | None = None, **query: Any) -> tuple[int, Any]:
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        asked.request("POST", f"/caption?{urlencode(query)}", body, headers or {})
        answer = asked.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        asked.close()


def get(port: int, path: str) -> tuple[http.client.HTTPResponse, str]:
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
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
