"""An uploaded file to a decoded clip, without a trace of it on any disk."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from emojax.config import Data
from emojax.data import isolated
from emojax.data.clips import Clip
from emojax.data.container import MediaError, probe
from emojax.data.reader import Decoded, load
from emojax.serving.ask import Ask, Refused
from emojax.serving.limits import Limits


def opened(content: bytes, ask: Ask, data: Data, limits: Limits) -> tuple[Clip, Decoded]:
    """The clip, with the seconds of its whole recording, and its streams. Decoded in a process that the file may end.

    Raises:
      Refused: nothing to caption (400), a recording that is too long (413), a file that cannot be decoded (422).
    """
    if not content or not (ask.audio or ask.video):
        if not ask.transcript:
            raise Refused(400, "nothing to caption: wanted a media file as the body, or a transcript")
        return Clip(ask.id, transcript=ask.transcript), Decoded(None, None)
    isolated.LIMIT.set(limits.decode_timeout)  # of this thread's context
    with _in_memory(content) as path:
        clip = Clip(ask.id, path if ask.audio else None, path if ask.video else None, ask.transcript)
        try:
            seconds = isolated.call(probe, path).seconds
            if seconds is not None and seconds > limits.max_seconds:
                raise Refused(413, f"the recording is {seconds:.0f} s long, at most {limits.max_seconds:g} are taken")
            decoded = load(clip, replace(data, strict=False))
        except MediaError as e:
            raise Refused(422, f"the file {e.why.replace(str(path), 'it')}") from None
    return replace(clip, seconds=decoded.seconds or None), decoded


@contextmanager
def _in_memory(content: bytes) -> Iterator[Path]:
    """A file that decoders of C can open.

    On Linux it is of memory alone, and is gone with this process, however it ends.
    """
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("clip")
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(content)
            yield Path(f"/proc/{os.getpid()}/fd/{fd}")
        finally:
            os.close(fd)
    else:
        with tempfile.NamedTemporaryFile(prefix="emojax-") as file:
            file.write(content)
            file.flush()
            yield Path(file.name)
