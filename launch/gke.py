"""GKE: TPU slices or GPU nodes, as a JobSet; by XPK if you have that.

    python launch/gke.py --name run1 --image IMAGE --tpu v5e:4x4 --slices 2 -- train --config base --out gs://BUCKET/run1
    python launch/gke.py --name run1 --image IMAGE --gpu nvidia-h100-80gb --nodes 2 -- train --config base --out gs://...

Writes NAME.jobset.yaml and applies it: one pod a host. A pod that is lost, preempted or crashes restarts them all, up
to `--restarts` times, and the run goes on from its last checkpoint; a user's error (exit code 2) ends it. With
`--xpk CLUSTER` the same run is handed to `xpk workload create` instead. The image is made from launch/Dockerfile.tpu or
launch/Dockerfile.cuda.
"""

import shlex
from pathlib import Path

import emojax_command
import gke_jobset
import shell
import tpu_slices
from emojax_command import LaunchError
from gke_jobset import Gke
from shell import Run


def xpk(g: Gke, stage: list[str]) -> list[str]:
    """The run by XPK, which restarts after exit codes from 127 on and those it is told: all but a user's error."""
    if g.tpu is None or g.mount or g.queue or g.namespace or g.service_account:
        raise LaunchError(
            "--xpk wants --tpu and no --mount, --queue, --namespace or --service-account: XPK has its own"
        )
    pods = gke_jobset.checked(g, stage)
    tier = ["--spot"] if g.spot else [f"--reservation={g.reservation}"] if g.reservation else []
    return [
        *("xpk", "workload", "create", f"--cluster={g.xpk}", f"--workload={g.name}", f"--docker-image={g.image}"),
        *(f"--tpu-type={tpu_slices.parse(g.tpu).accelerator}", f"--num-slices={g.slices}", *tier),
        *(f"--max-restarts={g.restarts}", "--restart-on-exit-codes=1,3-126"),
        f"--termination-grace-period-seconds={g.grace}",
        f"--command={shlex.join(pods.words)}",
    ]


def launch(g: Gke, stage: list[str], run: Run = shell.run) -> int:
    if g.xpk:
        command = xpk(g, stage)
        if g.dry_run:
            shell.show(command, False)
            return 0
        return run(command, False).code
    import yaml

    path = f"{g.name}.jobset.yaml"
    text = yaml.safe_dump(gke_jobset.jobset(g, stage), sort_keys=False, width=120)
    apply = ["kubectl", "apply", f"--filename={path}"]
    if g.dry_run:
        shell.show_file(path, text)
        shell.show(apply, False)
        return 0
    Path(path).write_text(text)
    if code := run(apply, False).code:
        return code
    where = [f"--namespace={g.namespace}"] if g.namespace else []
    print("its log:   ", shlex.join(["kubectl", "logs", "--follow", *where, f"--selector={gke_jobset.first_pod(g)}"]))
    print("to end it: ", shlex.join(["kubectl", "delete", "jobset", *where, g.name]))
    return 0


if __name__ == "__main__":
    emojax_command.main(Gke, launch, __doc__)
