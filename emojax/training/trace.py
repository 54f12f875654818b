"""What the device and the host do in a few steps, as a trace for xprof, TensorBoard's profile tab or Perfetto."""

from pathlib import Path

import jax

from emojax import storage
from emojax.config import ConfigError


def steps_of(asked: str) -> tuple[int, int]:
    """The first and the last step of `--profile FIRST:LAST`.

    Raises:
      ConfigError: it is no such range.
    """
    first, colon, last = asked.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise ConfigError(f"--profile wants FIRST:LAST, two steps counted from 1, such as 10:13; got {asked!r}")
    return int(first), int(last)


def check(profile: tuple[int, int] | None, steps: int, stage: str) -> None:
    """Raises ConfigError where the stage has no such steps."""
    if profile and profile[1] > steps:
        raise ConfigError(
            f"--profile {profile[0]}:{profile[1]}: {stage} has {steps} steps; take a range of them, early ones are "
            "as good as late ones"
        )


class Trace:
    """Trace of the steps `profile`, in `run/profile`; several processes write a folder each."""

    def __init__(self, run: Path, profile: tuple[int, int] | None) -> None:
        folder = storage.absolute(run) / "profile"
        self._folder = folder if jax.process_count() == 1 else folder / f"process-{jax.process_index()}"
        self._first, self._last = profile or (0, 0)
        self._on = False

    def begins(self, step: int) -> bool:
        """Whether this step is the first that is traced: the steps before it have to be done by then."""
        return not self._on and self._first <= step <= self._last

    def ends(self, step: int) -> bool:
        return self._on and step >= self._last

    def begin(self) -> None:
        jax.profiler.start_trace(str(self._folder))
        self._on = True

    def close(self) -> None:
        """Nothing happens where no trace is being taken."""
        if self._on:
            with storage.writing(self._folder, storage.RESUME):
                jax.profiler.stop_trace()
            self._on = False
