"""One of several processes that open a run, are stopped, meet a damaged checkpoint, and go on.

Arguments: port, number of this process, processes, folder.
"""

import os
import signal
import sys
from pathlib import Path

import jax
import numpy as np

port, me, processes, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{port}", processes, me)

from emojax.errors import Stopped  # noqa: E402
from emojax.parallel import hosts, sharding  # noqa: E402
from emojax.training import checkpoint  # noqa: E402
from emojax.training.run import RunError, RunOptions, open_run  # noqa: E402
from emojax.training.stop import listening  # noqa: E402
from support.small_loop import STEPS, TINY, run  # noqa: E402 after several processes became one

auto = (jax.sharding.AxisType.Auto,) * 3
mesh = jax.make_mesh((jax.device_count(), 1, 1), sharding.AXES, axis_types=auto)
every_two = ("checkpoint_every=2", "keep=9")
WHOLE = np.arange(24, dtype=np.float32).reshape(8, 3)


def tell(what: str, found: object) -> None:
    print(f"{what}: {found}", flush=True)


def told_after_two(step: int, _: dict) -> None:
    """The last process alone is."""
    if step == 2 and me == processes - 1:
        os.kill(os.getpid(), signal.SIGTERM)


def refused(out: Path) -> str:
    try:
        open_run(out, "sft", TINY, False, False)
    except RunError as e:
        return str(e)
    return "opened"


tell("apart", refused(folder / str(me) / "run"))
tell("together", refused(folder / "run"))

out = folder / "run"
ends: list[int] = []
with listening():
    try:
        run(out, settings=every_two, mesh=mesh, progress=told_after_two)
    except Stopped:
        ends = checkpoint.steps(out)
tell("again", refused(out))
tell("stopped", ends)
hosts.barrier("told")
if me == 0:
    (out / "checkpoints" / str(ends[-1]) / "default" / "manifest.ocdbt").unlink()
hosts.barrier("damaged")
begun: list[int] = []
recorded = RunOptions(record=True)
state = run(out, recorded, every_two, mesh, STEPS - 1, lambda step, _: begun.append(step))
tell("goes on with", begun[0])
tell("steps", checkpoint.steps(out))
rows = jax.make_array_from_callback((8, 3), sharding.by_clip(mesh, 8), lambda at: WHOLE[at])
tell("sha256", checkpoint.sha256({"w": rows}))
clocked = run(folder / "clock", settings=("checkpoint_minutes=1e-9", "keep=9"), mesh=mesh)
tell("clock", checkpoint.steps(folder / "clock"))
if me == 0:  # alone: the others are not asked
    here = jax.ShapeDtypeStruct((3,), "float32", sharding=jax.sharding.SingleDeviceSharding(jax.local_devices()[0]))
    tell("alone", checkpoint.restore_params(out, {"w": here})["w"].tolist())
hosts.barrier("end")
