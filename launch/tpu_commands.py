"""The options of launch/tpu.py, and the commands that they make."""

import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

import emojax_command
import tpu_slices
from emojax_command import LaunchError

ROOT = Path(__file__).parents[1]
_QUEUED = ("gcloud", "compute", "tpus", "queued-resources")


@dataclass(frozen=True)
class Tpu:
    """Options of the launcher."""

    name: str  # of the queued resource
    tpu: str  # generation and shape, as in v5e:4x4
    zone: str  # where Google has them
    slices: int = 1
    project: str | None = None  # gcloud's own without it
    spot: bool = False  # cheaper, may be preempted at any time
    reserved: bool = False  # from your reservation
    restarts: int = emojax_command.RESTARTS  # after crashes; preemptions are not counted
    poll: float = 30.0  # seconds between questions
    keep: bool = False  # do not delete the slices at the end; they go on costing
    dry_run: bool = False  # print every command and do nothing


def checked(t: Tpu, stage: list[str]) -> list[str]:
    """The words that every host starts. Raises LaunchError before anything is asked for."""
    emojax_command.label(t.name)
    emojax_command.at_least(1, slices=t.slices)
    emojax_command.at_least(0, restarts=t.restarts)
    emojax_command.out_of(stage)
    piece = tpu_slices.parse(t.tpu)
    if piece.kind.runtime is None:
        raise LaunchError(f"--tpu {t.tpu!r}: Google lends it through GKE only; use launch/gke.py")
    if t.spot and t.reserved:
        raise LaunchError("--spot and --reserved exclude each other; leave one out")
    return emojax_command.started(stage, piece.vms * t.slices)


def _queued(t: Tpu, *words: str) -> list[str]:
    return [*_QUEUED, *words, f"--zone={t.zone}", *([f"--project={t.project}"] if t.project else [])]


def create(t: Tpu) -> list[str]:
    piece = tpu_slices.parse(t.tpu)
    nodes = [f"--node-id={t.name}"] if t.slices == 1 else [f"--node-count={t.slices}", f"--node-prefix={t.name}"]
    tier = ["--spot"] if t.spot else ["--reserved"] if t.reserved else []
    kind = [f"--accelerator-type={piece.accelerator}", f"--runtime-version={piece.kind.runtime}"]
    return _queued(t, "create", t.name, *nodes, *kind, *tier, "--quiet")


def describe(t: Tpu) -> list[str]:
    return [*_queued(t, "describe", t.name), "--format=value(state.state)"]


def delete(t: Tpu) -> list[str]:
    return _queued(t, "delete", t.name, "--force", "--quiet")


def uncommitted() -> list[str]:
    return ["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"]


def _packed(t: Tpu) -> str:
    return f"{tempfile.gettempdir()}/{t.name}.tar.gz"


def archive(t: Tpu) -> list[str]:
    return ["git", "-C", str(ROOT), "archive", "--format=tar.gz", f"--output={_packed(t)}", "HEAD"]


def copy(t: Tpu) -> list[str]:
    return [*_queued(t, "scp", _packed(t), f"{t.name}:"), "--node=all", "--worker=all", "--quiet"]


def host(t: Tpu, which: str, *words: str, before: str = "", after: str = "") -> list[str]:
    """`launch/tpu_host.sh words` on the hosts `which`: "all", or "0" for the first of the first slice."""
    script = f"{before}bash {t.name}/launch/tpu_host.sh {shlex.join(words)}{after}"
    return [*_queued(t, "ssh", t.name), f"--node={which}", f"--worker={which}", f"--command={script}", "--quiet"]


def prepare(t: Tpu) -> list[str]:
    return host(t, "all", "prepare", before=f"mkdir -p {t.name} && tar -xzf {t.name}.tar.gz -C {t.name} && ")


def ask(t: Tpu) -> list[str]:
    return host(t, "0", "ask", after=" || echo none")  # a new host has no such file
