"""The training core runs where only jax, flax, optax, einops and numpy are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_both_steps_run_without_the_other_packages() -> None:
    script = Path(__file__).parent / "support" / "bare_steps.py"
    # JAX looks for tensorflow when it reads a program that the session kept
    env = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    command = [sys.executable, script, "--block"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("both steps ran\n")
