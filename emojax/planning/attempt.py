"""One compilation of a program, and whether it fits."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax

from emojax.planning import memory
from emojax.planning.programs import PlannedProgram
from emojax.planning.proposals import Outcome


@dataclass(frozen=True)
class Attempt:
    outcome: Outcome
    compiled: jax.stages.Compiled | None  # None: the compiler ran out of the device's memory
    seconds: float
    executables: int  # compilations that it took


def attempt(lowered: PlannedProgram, limit: int | None) -> Attempt:
    """Compiles the program of the longest clips.

    Args:
      limit: bytes of a device that it may use; None: as many as it wants.
    """
    clock = time.perf_counter()
    with _compilations() as durations:
        try:
            compiled = lowered.longest.compile()
        except jax.errors.JaxRuntimeError as e:
            wants = memory.exhausted(e)
            if wants is None:
                raise
            needs, has = wants
            outcome = Outcome(needs, has if limit is None else min(has, limit), True)
            return Attempt(outcome, None, time.perf_counter() - clock, 0)
    seconds = time.perf_counter() - clock
    used = memory.of(compiled)
    return Attempt(Outcome(used["peak"] + used["code"], limit, True), compiled, seconds, len(durations))


def cheaply(lowered: PlannedProgram, limit: int | None) -> Outcome:
    """`attempt` without compiling, where the arguments alone are too much."""
    arguments = memory.of_arguments(lowered.arguments)
    if limit is not None and arguments > limit:
        return Outcome(arguments, limit, False)
    return attempt(lowered, limit).outcome


@contextmanager
def _compilations() -> Iterator[list[float]]:
    """Seconds of each compilation inside."""
    found: list[float] = []

    def count(event: str, duration_secs: float, **_: Any) -> None:
        if event.endswith("backend_compile_duration"):
            found.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
