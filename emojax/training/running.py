"""How a run is run. Nothing here changes what it computes, so nothing here is part of its configuration."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Running:
    executable: Path | None = None  # that `emojax plan --save` wrote, used instead of compiling
    profile: tuple[int, int] | None = None  # steps, the first and the last, of which a trace is written
    began: float | None = None  # time.time() when the command began; None: when the stage did
