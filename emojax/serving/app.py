"""The application: the page, what is known of the captioner, and `POST /caption`."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any, TypeVar

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from emojax.config import Data
from emojax.serving import ask, media, openapi
from emojax.serving.ask import Refused
from emojax.serving.guard import guarded
from emojax.serving.limits import Limits
from emojax.serving.queue import Queue, Record
from emojax.serving.shown import shown

T = TypeVar("T")
_PAGE = {"/": ("page.html", "text/html"), "/page.js": ("page.js", "text/javascript")}
_PAGE |= {"/page.css": ("page.css", "text/css"), "/plots.js": ("plots.js", "text/javascript")}


@dataclass
class Desk:
    """Where requests come in: how many are here, and what they may take."""

    queue: Queue
    limits: Limits
    decoding: anyio.CapacityLimiter
    here: int = 0

    async def caption(self, request: Request) -> Response:
        if self.here >= self.limits.max_requests:
            answer = _error(503, f"{self.here} requests are being answered, which is all there is room for; try again")
            answer.headers["retry-after"] = "1"
            return answer
        self.here += 1
        try:
            return JSONResponse(await self._captioned(request))
        finally:
            self.here -= 1

    async def _captioned(self, request: Request) -> Record:
        asked, limits, data = ask.read(request.query_params.multi_items(), self.samples), self.limits, self.data
        asked = replace(asked, **{name: getattr(asked, name) and name in self.streams for name in ("audio", "video")})
        content = await _in_time(self._body(request), limits.upload_timeout, 408, "the body has not come")
        clip, decoded = await anyio.to_thread.run_sync(
            media.opened, content, asked, data, limits, limiter=self.decoding
        )
        del content
        seeds = [None, *([asked.seed] if asked.samples else [])]  # the greedy caption, and the samples
        made = asyncio.gather(*(self.queue.caption(clip, decoded, seed) for seed in seeds))
        records = await _in_time(made, limits.answer_timeout, 504, "not captioned")
        if failed := next((record["error"] for record in records if "error" in record), None):
            raise Refused(422, failed)
        answer = {"id": clip.id, **_caption(records[0]), "heard": decoded.samples > 0, "seen": decoded.frames}
        answer |= {name: records[0][name] for name in ("truncated_seconds",) if name in records[0]}
        if asked.samples:
            drawn = records[1].get("samples", records[1:])
            answer["samples"] = [_caption(one) for one in drawn[: asked.samples]]
        if asked.show:
            answer["shown"] = await anyio.to_thread.run_sync(shown, decoded)
        return answer

    async def _body(self, request: Request) -> bytes:
        limit = self.limits.max_bytes
        told = request.headers.get("content-length", "0")
        if told.isdecimal() and int(told) > limit:
            raise Refused(413, f"the body has {told} bytes, at most {limit} are taken")
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > limit:
                raise Refused(413, f"the body has more than {limit} bytes")
        return bytes(content)

    @property
    def data(self) -> Data:
        return self.queue.model.cfg.data

    @property
    def samples(self) -> int:
        """That a request may ask for."""
        return self.queue.drawn.samples if self.queue.drawn.sampling else 0

    @property
    def streams(self) -> list[str]:
        """That the captioner has encoders for."""
        return [name for name in ("audio", "video") if getattr(self.queue.model.cfg.model, name) is not None]

    def about(self) -> dict[str, Any]:
        """What a page or a program may want to know before it asks."""
        cfg, limits = self.queue.model.cfg, self.limits
        return {
            "model": cfg.name,
            "streams": self.streams,
            "seconds": cfg.data.audio_seconds[-1],
            "emotions": [concept.name for concept in cfg.reward.concepts],
            "samples": self.samples,
            "max_bytes": limits.max_bytes,
            "max_seconds": limits.max_seconds,
        }


async def _in_time(work: Awaitable[T], seconds: float, status: int, what: str) -> T:
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError:
        raise Refused(status, f"{what} after {seconds:g} s; try again") from None


def _caption(record: Record) -> Record:
    """`probability` is the geometric mean of its tokens'."""
    told = {name: record[name] for name in ("caption", "logprob", "tokens", "emotions") if name in record}
    return told | {"probability": math.exp(record["logprob"] / max(record["tokens"], 1))}


def application(queue: Queue, limits: Limits, names: tuple[str, ...]) -> ASGIApp:
    """Args: names: that the server is called by, in the Host of a request."""
    desk = Desk(queue, limits, anyio.CapacityLimiter(limits.decoders))
    about = desk.about()
    files = {
        path: (resources.files("emojax.serving").joinpath(name).read_bytes(), kind)
        for path, (name, kind) in _PAGE.items()
    }

    async def page(request: Request) -> Response:
        content, kind = files[request.url.path]
        return Response(content, media_type=kind)

    async def told(request: Request) -> Response:
        return JSONResponse(about)

    async def schema(request: Request) -> Response:
        return JSONResponse(openapi.schema(about))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        running = asyncio.create_task(queue.run())
        try:
            yield
        finally:
            running.cancel()

    routes = [Route(path, page) for path in files]
    routes += [Route("/about", told), Route("/openapi.json", schema), Route("/caption", desk.caption, methods=["POST"])]
    handlers: Any = {Refused: _refused, HTTPException: _http, ClientDisconnect: _gone, Exception: _broken}
    return guarded(Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers), names)


def _error(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status)


async def _refused(request: Request, e: Refused) -> Response:
    return _error(e.status, e.why)


async def _http(request: Request, e: HTTPException) -> Response:
    there = "GET /, /about, /openapi.json; POST /caption"
    return JSONResponse({"error": f"{e.detail.lower()}; there are {there}"}, e.status_code, e.headers)


async def _gone(request: Request, e: ClientDisconnect) -> Response:
    return _error(400, "the body ended before its end")


async def _broken(request: Request, e: Exception) -> Response:
    return _error(500, "something broke that is not of the request; the server's log says what")
