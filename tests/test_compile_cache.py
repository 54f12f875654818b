"""Compiled programs are kept where they are safe, and a program that is kept is not compiled again."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from emojax.commands import train
from emojax.parallel import compile_cache

SCRIPT = """
import sys, jax, jax.monitoring
from emojax.parallel import compile_cache
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name.rpartition("/")[-1]))
compile_cache.use(*sys.argv[1:])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.jit(lambda x: x * 3)(jax.numpy.arange(5.0))
print([name in events for name in ("cache_hits", "cache_misses")])
"""


def compiled(tmp_path: Path, *where: str, **env: str) -> str:
    unset = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}  # the session's
    env = {**unset, "XDG_CACHE_HOME": str(tmp_path / "home"), "JAX_PLATFORMS": "cpu", **env}
    done = subprocess.run([sys.executable, "-c", SCRIPT, *where], env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_program_that_is_kept_is_not_compiled_again(tmp_path: Path) -> None:
    at = str(tmp_path / "new" / "cache")
    assert compiled(tmp_path, at) == "[False, True]"
    assert compiled(tmp_path, at) == "[True, False]"
    assert compiled(tmp_path, "none", JAX_COMPILATION_CACHE_DIR=at) == "[False, False]"
    assert compiled(tmp_path, JAX_COMPILATION_CACHE_DIR=at) == "[True, False]"
    assert compiled(tmp_path) == "[False, False]"  # on CPU by wish alone
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("platform", "processes", "kept"),
    [("tpu", 1, True), ("tpu", 64, True), ("gpu", 1, True), ("gpu", 2, False), ("cpu", 1, False), ("cpu", 2, False)],
)
def test_programs_are_kept_unasked_where_that_is_safe(
    platform: str, processes: int, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    was = jax.config.values["jax_compilation_cache_dir"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    try:
        compile_cache.use()
        wanted = str(tmp_path / "emojax" / "compiled") if kept else was
        assert jax.config.values["jax_compilation_cache_dir"] == wanted
    finally:
        jax.config.update("jax_compilation_cache_dir", was)


def test_xla_is_told_to_be_deterministic_before_devices_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(compile_cache, "use", lambda _: told.append(os.environ["XLA_FLAGS"]))
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_autotune_level=0")
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    for deterministic in (False, True):
        train.run_options(train.Run(deterministic=deterministic), began=0.0)
    assert ["--xla_gpu_deterministic_ops=true" in flags.split() for flags in told] == [False, True]
    assert all("--xla_gpu_autotune_level=0" in flags.split() for flags in told)
