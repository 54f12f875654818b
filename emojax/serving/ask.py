"""What a request asks for, read from its query: every name is known, every value is of its range, or it is refused."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields

from emojax.errors import nearest, shown

_TEXT = {"id": 200, "transcript": 2000}  # characters at most
_SEEDS = 2**32
_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Refused(Exception):
    """A request that is not answered as asked: an HTTP status, and a line that says why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(status, why)
        self.status, self.why = status, why


@dataclass(frozen=True)
class Ask:
    id: str = "clip"  # its name in the sampling noise, as a path is for `emojax caption`
    transcript: str | None = None
    audio: bool = True  # the sound of the file is heard
    video: bool = True  # its film is seen
    samples: int = 0  # captions drawn besides the greedy one
    seed: int = 0  # of the draw
    show: bool = False  # also what the captioner hears and sees


def read(query: Iterable[tuple[str, str]], most_samples: int) -> Ask:
    """Raises Refused (400)."""
    names, found = [field.name for field in fields(Ask)], {}
    for name, value in query:
        if name not in names:
            raise Refused(400, f"no parameter {shown(name)}{nearest(name, names)}; there are {', '.join(names)}")
        if name in found:
            raise Refused(400, f"{name} is there twice")
        match name:
            case "audio" | "video" | "show":
                found[name] = _switch(name, value)
            case "samples":
                found[name] = _number(name, value, most_samples)
            case "seed":
                found[name] = _number(name, value, _SEEDS - 1)
            case _:
                found[name] = _text(name, value)
    return Ask(**found)


def _switch(name: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise Refused(400, f"{name} wants true or false, got {shown(value)}")
    return value == "true"


def _number(name: str, value: str, most: int) -> int:
    if not re.fullmatch("[0-9]{1,10}", value) or int(value) > most:
        raise Refused(400, f"{name} wants a whole number from 0 to {most}, got {shown(value)}")
    return int(value)


def _text(name: str, value: str) -> str:
    if len(value) > _TEXT[name]:
        raise Refused(400, f"{name} wants at most {_TEXT[name]} characters, got {len(value)}")
    if odd := _NO_TEXT.search(value):
        raise Refused(400, f"{name} has the character {odd.group()!a}, which is no text")
    return value
