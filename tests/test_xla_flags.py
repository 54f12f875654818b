"""XLA's flags: known to this jaxlib, the user's before ours, no device looked for to choose them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from emojax.commands import doctor
from emojax.parallel import xla

ROOT = Path(__file__).parents[1]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without flags, that is put back."""
    for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS"):
        monkeypatch.setenv(name, "")
    return monkeypatch


def python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", **environment}
    return subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)


def test_this_jaxlib_knows_every_flag() -> None:
    """An unknown one ends the process."""
    own = xla.flags("gpu", deterministic=True)
    assert list(own) == ["XLA_FLAGS"]
    ran = python("import jax; jax.devices()", **own)
    assert ran.returncode == 0, ran.stderr
    ran = python("import jax; jax.devices()", XLA_FLAGS=own["XLA_FLAGS"] + " --xla_gpu_no_such_flag=true")
    assert ran.returncode != 0
    assert "xla_gpu_no_such_flag" in ran.stderr


def test_nothing_is_said_to_the_cpu_and_determinism_is_said_when_it_is_wanted() -> None:
    assert xla.flags("cpu", True) == xla.flags("tpu", True) == {}
    quick, same = (xla.flags("gpu", deterministic)["XLA_FLAGS"].split() for deterministic in (False, True))
    assert set(same) - set(quick) == {"--xla_gpu_deterministic_ops=true"}
    assert "--xla_gpu_enable_latency_hiding_scheduler=true" in quick


def test_the_users_flags_win_and_others_of_theirs_stay(alone: pytest.MonkeyPatch) -> None:
    alone.setenv("JAX_PLATFORMS", "cuda")
    alone.setenv("XLA_FLAGS", "--xla_dump_to=/tmp/x --xla_gpu_enable_latency_hiding_scheduler=false")
    xla.set_environment(deterministic=True)
    found = os.environ["XLA_FLAGS"].split()
    assert {"--xla_dump_to=/tmp/x", "--xla_gpu_enable_latency_hiding_scheduler=false"} < set(found)
    names = [flag.partition("=")[0] for flag in found]
    assert len(names) == len(set(names))
    assert "--xla_gpu_deterministic_ops=true" in found


def test_to_set_them_again_changes_nothing_but_what_is_new(alone: pytest.MonkeyPatch) -> None:
    """The command sets them, and training that is to be deterministic sets them again."""
    alone.setenv("JAX_PLATFORMS", "cuda")
    xla.set_environment()
    once = os.environ["XLA_FLAGS"]
    xla.set_environment()
    assert os.environ["XLA_FLAGS"] == once == xla.flags("gpu", False)["XLA_FLAGS"]
    xla.set_environment(deterministic=True)
    assert set(os.environ["XLA_FLAGS"].split()) == set(xla.flags("gpu", True)["XLA_FLAGS"].split())


def test_a_machine_without_accelerators_is_left_as_it_is(alone: pytest.MonkeyPatch) -> None:
    alone.setenv("JAX_PLATFORMS", "cpu")
    alone.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    xla.set_environment(deterministic=True)
    assert os.environ["XLA_FLAGS"] == "--xla_force_host_platform_device_count=2"


@pytest.mark.parametrize(
    ("asked", "installed", "platform"),
    [
        ("cuda,cpu", (), "gpu"),
        ("gpu", (), "gpu"),
        ("tpu", ("jax_cuda13_plugin",), "tpu"),
        ("cpu", ("libtpu", "jax_cuda13_plugin"), "cpu"),
        ("", ("jax_cuda12_plugin",), "gpu"),
        ("", ("jax_cuda13_plugin", "libtpu"), "gpu"),
        ("", ("libtpu",), "tpu"),
        ("", (), "cpu"),
    ],
)
def test_the_platform_is_what_is_asked_for_or_else_installed(
    asked: str, installed: tuple[str, ...], platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xla, "find_spec", lambda name: name if name in installed else None)
    assert xla.platform({"JAX_PLATFORMS": asked}) == platform


def test_no_jax_is_imported_to_choose_them_and_the_command_sets_them() -> None:
    program = (
        "import sys, os; from emojax.parallel import xla; xla.set_environment(); "
        "assert not {'jax', 'jaxlib'} & set(sys.modules), 'jax'; os.environ['XLA_FLAGS'] = ''; "
        "from emojax import cli; sys.argv = ['emojax', '-h']\n"
        "try: cli.main()\nexcept SystemExit: print(os.environ['XLA_FLAGS'], file=sys.stderr)"
    )
    ran = python(program, JAX_PLATFORMS="cuda", XLA_FLAGS="")
    assert "--xla_gpu_enable_latency_hiding_scheduler=true" in ran.stderr
    assert ran.returncode == 0, ran.stderr


def test_the_doctor_says_which_are_in_force(alone: pytest.MonkeyPatch) -> None:
    assert "XLA flags: none" in doctor.report()
    alone.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
    assert "XLA flags: XLA_FLAGS=--xla_gpu_deterministic_ops=true" in doctor.report()
