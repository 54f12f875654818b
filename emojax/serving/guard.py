"""Who may ask: pages of this server and programs, under the names that it is called by; no other page, by no trick."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL = ("127.0.0.1", "localhost", "::1")
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def guarded(app: ASGIApp, names: Iterable[str]) -> ASGIApp:
    """The app for requests whose Host is one of `names`, and whose Origin, where a browser tells it, is the same.

    A page that has its own name point here (DNS rebinding) comes with that name as Host; one that sends a request
    across origins, whose answer it could not read, comes with its own Origin. Both are refused (403).
    """
    known = {name.lower().strip("[]") for name in names}

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in _HEADERS.items())]
            await send(message)

        if why := _why_not(scope, known):
            await JSONResponse({"error": why}, 403)(scope, receive, answer)
        else:
            await app(scope, receive, answer)

    return guard


def _why_not(scope: Scope, known: set[str]) -> str | None:
    told: dict[bytes, list[bytes]] = {b"host": [], b"origin": []}
    for name, value in scope["headers"]:
        told.get(name, []).append(value)
    hosts, origins = told.values()
    if len(hosts) != 1 or _name(b"//" + hosts[0]) not in known:
        return f"the Host of the request is none of {', '.join(sorted(known))}; the server is told others by --name"
    if any(_name(origin) not in known for origin in origins):
        return "a page of another origin may not ask this server"
    return None


def _name(url: bytes) -> str | None:
    try:
        return urlsplit(url.decode("ascii")).hostname
    except ValueError:  # not ASCII among them
        return None
