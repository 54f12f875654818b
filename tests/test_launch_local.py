"""Several processes on one machine: who they are, whose lines are whose, and one that fails ends all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

LOCAL = [sys.executable, str(Path(__file__).parents[1] / "launch" / "local.py")]
GOLDEN = """\
JAX_PLATFORMS=cpu XLA_FLAGS='--a=b --xla_force_host_platform_device_count=2' PJRT_NPROC=64 emojax train --out 'a b' \
--processes 2 --coordinator localhost:77 --process 0
JAX_PLATFORMS=cpu XLA_FLAGS='--a=b --xla_force_host_platform_device_count=2' PJRT_NPROC=64 emojax train --out 'a b' \
--processes 2 --coordinator localhost:77 --process 1
"""
WHO = "import sys; me = sys.argv[sys.argv.index('--process') + 1]\n"


def local(*words: str, timeout: float = 60) -> subprocess.CompletedProcess:
    plain = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "PJRT_NPROC", "CUDA_VISIBLE_DEVICES")}
    environment = plain | {"XLA_FLAGS": "--a=b"}
    return subprocess.run(
        [*LOCAL, *words], env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def python(code: str) -> list[str]:
    return ["--", sys.executable, "-c", WHO + code]


def test_a_dry_run_prints_each_command_and_starts_nothing(tmp_path: Path) -> None:
    done = local("-n", "2", "--devices", "2", "--port", "77", "--dry-run", "--", "emojax", "train", "--out", "a b")
    assert (done.stdout, done.stderr, done.returncode) == (GOLDEN, "", 0)
    done = local("-n", "2", "--gpu", "--dry-run", "--", "emojax", "train")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "CUDA_VISIBLE_DEVICES=0",
        "CUDA_VISIBLE_DEVICES=1",
    ]


def test_lines_come_with_the_number_of_their_process() -> None:
    done = local("-n", "2", *python("print('out of', me); print('err of', me, file=sys.stderr)"))
    assert sorted(done.stdout.splitlines()) == ["[0] out of 0", "[1] out of 1"]
    assert sorted(done.stderr.splitlines()) == ["[0] err of 0", "[1] err of 1"]
    assert done.returncode == 0


def test_one_that_fails_ends_the_others_and_gives_its_code() -> None:
    began = time.monotonic()
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    done = local("-n", "3", "--grace", "1", *python(deaf + "sys.exit(7) if me == '1' else time.sleep(50)"))
    assert done.returncode == 7
    assert time.monotonic() - began < 30
    died = local(
        "-n", "2", "--grace", "1", *python("import os, time; os.kill(os.getpid(), 9) if me == '1' else time.sleep(50)")
    )
    assert died.returncode == 128 + 9


def test_a_crash_is_started_again_with_resume_a_users_error_never(tmp_path: Path) -> None:
    begun = f"open({str(tmp_path / 'begun')!r} + me, 'a+')"
    count = f"{begun}.write('--resume' in sys.argv and 'r' or '-')\n"
    crash = f"{count}sys.exit(0 if {begun}.tell() == 3 else 5)"
    done = local("-n", "1", "--restarts", "4", *python(crash))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "begun0").read_text() == "-rr"
    (tmp_path / "begun0").unlink()
    done = local("-n", "1", "--restarts", "4", *python(count + "sys.exit(2)"), "--overwrite")
    assert done.returncode == 2
    assert (tmp_path / "begun0").read_text() == "-"


def test_sigterm_is_passed_on_and_nothing_is_started_again() -> None:
    listen = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); print('up', flush=True)\n"
    command = [*LOCAL, "-n", "2", "--restarts", "3", *python(listen + "time.sleep(50)")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        lines = [started.stdout.readline() for _ in range(2)]
        assert sorted(lines) == ["[0] up\n", "[1] up\n"]
        started.send_signal(signal.SIGTERM)
        assert started.wait(timeout=30) == 75


def test_a_command_is_wanted() -> None:
    done = local("-n", "2")
    assert done.returncode == 2
    assert "a command after --" in done.stderr
