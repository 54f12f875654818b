"""The metrics of a run for TensorBoard: a file of events, written in the loop's own thread.

tensorboardX's `SummaryWriter` writes in a thread that dies of a full disk, and then nobody empties its queue: the run
would wait for it for ever. Its protocol buffers and its check sums are used, its thread is not.
"""

import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emojax.storage import RESUME, Appending, writing


class Board:
    """A new file of events in `folder`, in TensorFlow's format of records."""

    def __init__(self, folder: Path, last_step: int) -> None:
        """
        Args:
          last_step: what other files say of later steps is void: they are made again.
        """
        from tensorboardX.proto.event_pb2 import SessionLog  # pyright: ignore[reportAttributeAccessIssue] protobuf names it at run time

        with writing(folder, RESUME):
            folder.mkdir(parents=True, exist_ok=True)
        self._file = Appending(folder / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}", RESUME)
        try:
            self._write(file_version="brain.Event:2")
            if last_step:
                self._write(step=last_step + 1, session_log=SessionLog(status=SessionLog.START))
        except BaseException:
            self._file.close()
            raise

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue] protobuf names it at run time

        each = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step=step, summary=Summary(value=each))

    def close(self) -> None:
        self._file.close()

    def _write(self, **fields: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue] protobuf names it at run time

        event = Event(wall_time=time.time(), **fields).SerializeToString()
        length = struct.pack("<Q", len(event))
        self._file.write(length + _sum(length) + event + _sum(event))


def _sum(data: bytes) -> bytes:
    """A check sum as the format has it: a CRC-32C, rotated and shifted."""
    from tensorboardX.crc32c import crc32c

    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
