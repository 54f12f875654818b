"""Stages on one device, in a process that has eight."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import pytest

from emojax.training import stages
from emojax.training.stage_mesh import stage_mesh


@contextmanager
def one_device() -> Iterator[None]:
    """For laws that are not about devices: sharded over eight, a program takes half as long again to compile, and on
    two cores much longer to run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "stage_mesh", functools.partial(stage_mesh, devices=jax.devices()[:1]))
        yield
