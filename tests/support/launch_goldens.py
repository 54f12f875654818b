"""What the launchers print with --dry-run, kept in tests/golden/launch. After a change that is meant, write them anew:

python tests/support/launch_goldens.py
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "golden" / "launch"

_TRAIN = "-- train --config base --out gs://bucket/run1"
_QUOTED = "-- grpo --out gs://bucket/run1 --set 'data.manifest=gs://bucket/a b.jsonl'"
_SHARED = "-- train --config base --out /data/run1 --set data.manifest='/data/a b.jsonl'"
CASES = {
    "tpu_one_slice": f"tpu.py --name run1 --zone us-west4-a --tpu v5e:4x4 {_TRAIN}",
    "tpu_spot_slices": f"tpu.py --name run1 --zone us-east5-b --project lab --tpu v6e:8x8 --slices 4 --spot {_TRAIN}",
    "tpu_reserved_kept": f"tpu.py --name run1 --zone us-east5-a --tpu v5p:4x4x4 --reserved --keep {_QUOTED}",
    "gke_one_slice": f"gke.py --name run1 --image registry/emojax:1 --tpu tpu7x:2x2x2 --queue lab {_TRAIN}",
    "gke_spot_slices": f"gke.py --name run1 --image registry/emojax:1 --tpu v5e:16x16 --slices 2 --spot {_TRAIN}",
    "gke_gpu": "gke.py --name run1 --image registry/emojax:1 --gpu nvidia-h100-80gb --nodes 4 --mount disk:/data "
    f"--namespace lab --service-account writer --restarts 3 {_SHARED}",
    "gke_xpk": f"gke.py --name run1 --image registry/emojax:1 --tpu v6e:8x8 --slices 2 --xpk cluster --spot {_QUOTED}",
    "slurm_one_node": f"slurm.py --name run1 --gpus-per-node 4 {_SHARED}",
    "slurm_nodes": "slurm.py --name run1 --nodes 16 --time 8:00:00 --grace 300 --sbatch partition=gpu account=lab "
    f"--setup 'source /data/venv/bin/activate' --logs /data/logs --restarts 2 {_SHARED}",
}


def dry_run(case: str) -> str:
    """What the command prints. Raises where it fails."""
    script, *words = shlex.split(CASES[case])
    command = [sys.executable, str(ROOT / "launch" / script), "--dry-run", *words]
    env = {**os.environ, "TMPDIR": "/tmp"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return done.stdout.replace(str(ROOT), "ROOT")


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for golden in FOLDER.glob("*.sh"):
        golden.unlink()
    for name in CASES:
        (FOLDER / f"{name}.sh").write_text(dry_run(name))
