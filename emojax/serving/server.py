"""The application on a socket, by uvicorn: what is too slow with the head of a request is hung up on."""

import asyncio
import socket
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from emojax.serving.limits import Limits

_SHARE = 6  # the head of a request has a sixth of the time that all of it has


def protocol(seconds: float) -> type[H11Protocol]:
    """Of connections on which the head of a request must have come after so many seconds: uvicorn waits for ever, and
    whoever sends a byte a minute (slow-loris) would keep every connection there is."""

    class Prompt(H11Protocol):
        late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def handle_events(self) -> None:
            before = self.cycle
            super().handle_events()
            if self.cycle is not before:  # a head is there
                self._stop()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _wait(self) -> None:
            self._stop()
            self.late = self.loop.call_later(seconds, self.transport.abort)

        def _stop(self) -> None:
            if self.late is not None:
                self.late.cancel()
                self.late = None

    return Prompt


def server(app: ASGIApp, limits: Limits) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        http=protocol(limits.upload_timeout / _SHARE),
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=10,
        h11_max_incomplete_event_size=32 * 1024,
    )
    return uvicorn.Server(config)


def bound(host: str, port: int) -> socket.socket:
    """A socket that nobody else listens on; port 0 takes any. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as e:
        found.close()
        raise OSError(f"{host}:{port}: {e.strerror}; name another port by --port") from None
    return found
