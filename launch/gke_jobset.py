"""The JobSet of a run in GKE (jobset.x-k8s.io/v1alpha2).

A JobSet is replicated Jobs; a Job is the pods of one TPU slice, or of all GPU nodes; a pod is a host. They run together
or not at all: no pod is replaced by itself (`backoffLimit: 0`); when one fails, all are taken away and made anew.
"""

import re
from dataclasses import dataclass
from typing import Any

import emojax_command
import tpu_slices
from emojax_command import USERS_ERROR, LaunchError

_PORT = 8476  # of JAX's coordinator, where it cannot find one itself
_JOB, _CONTAINER = "host", "emojax"
_USER = 1000  # of the images


@dataclass(frozen=True)
class Gke:
    """Options of the launcher."""

    name: str  # of the JobSet
    image: str  # container, made from launch/Dockerfile.tpu or launch/Dockerfile.cuda
    tpu: str | None = None  # generation and shape, as in v5e:4x4
    slices: int = 1  # of that TPU
    gpu: str | None = None  # GKE's name of a GPU instead, as in nvidia-h100-80gb
    nodes: int = 1  # with these GPUs
    gpus_per_node: int = 8
    spot: bool = False  # cheaper nodes, may be preempted at any time
    reservation: str | None = None  # nodes from your reservation
    mount: str | None = None  # a disk that all pods share, as CLAIM:/path
    queue: str | None = None  # Kueue's local queue
    namespace: str | None = None
    service_account: str | None = None  # of Kubernetes, that may write to the bucket
    restarts: int = emojax_command.RESTARTS  # of all pods together; preemptions are counted too
    grace: int = 120  # seconds that a checkpoint is given when a pod is told to go
    xpk: str | None = None  # a cluster that XPK made: hand the run to XPK
    dry_run: bool = False  # print the manifest and the commands, and do nothing


@dataclass(frozen=True)
class Pods:
    """What differs between TPUs and GPUs."""

    words: list[str]  # started in each pod
    jobs: int
    pods: int  # a job
    chips: tuple[str, int]  # resource of a pod
    select: dict[str, str]  # labels of a node
    environment: list[dict[str, Any]]


def _mount(g: Gke) -> tuple[str, str] | None:
    if g.mount is None:
        return None
    claim, _, path = g.mount.partition(":")
    if not re.fullmatch(r"/[^:]+", path):
        raise LaunchError(f"--mount {g.mount!r}: wanted CLAIM:/path, as in disk:/data")
    emojax_command.label(claim, "--mount")
    return claim, path.rstrip("/")


def checked(g: Gke, stage: list[str]) -> Pods:
    """Raises LaunchError before anything is written."""
    emojax_command.label(g.name)
    emojax_command.at_least(1, slices=g.slices, nodes=g.nodes, gpus_per_node=g.gpus_per_node, grace=g.grace)
    emojax_command.at_least(0, restarts=g.restarts)
    out, mount = emojax_command.out_of(stage), _mount(g)
    if not out.startswith("gs://") and not (mount and f"{out}/".startswith(f"{mount[1]}/")):
        raise LaunchError(
            f"--out {out!r} is inside the container and goes with it; give gs://... or --mount CLAIM:{out}"
        )
    if (g.tpu is None) == (g.gpu is None):
        raise LaunchError("wanted one of --tpu and --gpu, as in --tpu v5e:4x4 or --gpu nvidia-h100-80gb")
    if g.spot and g.reservation:
        raise LaunchError("--spot and --reservation exclude each other; leave one out")
    return _tpu(g, g.tpu, stage) if g.tpu else _gpu(g, stage)


def _tpu(g: Gke, name: str, stage: list[str]) -> Pods:
    """GKE tells the pods of a JobSet the slices and hosts (TPU_WORKER_*, MEGASCALE_*), and JAX reads that."""
    if g.nodes != 1:
        raise LaunchError(f"--nodes {g.nodes} is for --gpu; the hosts of {name} are counted, more of it are --slices")
    piece = tpu_slices.parse(name)
    if g.slices > 1 and piece.nodes == 1:
        raise LaunchError(f"--slices {g.slices} of {name}: slices of one host cannot be joined; take a larger --tpu")
    labels = {"gke-tpu-accelerator": piece.kind.node, "gke-tpu-topology": piece.topology}
    return Pods(
        words=emojax_command.started(stage, piece.nodes * g.slices),
        jobs=g.slices,
        pods=piece.nodes,
        chips=("google.com/tpu", min(4, piece.chips)),
        select={f"cloud.google.com/{label}": value for label, value in labels.items()},
        environment=[],
    )


def _gpu(g: Gke, stage: list[str]) -> Pods:
    """A process a node, with all its GPUs. JAX is told where to meet: to find out, it would need rights."""
    if g.slices != 1:
        raise LaunchError(f"--slices {g.slices} is for --tpu; more GPUs are --nodes")
    first = f"{g.name}-{_JOB}-0-0.{g.name}"  # a pod's host name: JobSet, job, its number, the pod's; then the subdomain
    meet = ("--coordinator", f"{first}:{_PORT}", "--process", "$(PROCESS)")
    index = {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}
    return Pods(
        words=emojax_command.started(stage, g.nodes, *meet),
        jobs=1,
        pods=g.nodes,
        chips=("nvidia.com/gpu", g.gpus_per_node),
        select={"cloud.google.com/gke-accelerator": str(g.gpu)},
        environment=[{"name": "PROCESS", "valueFrom": {"fieldRef": index}}],
    )


def first_pod(g: Gke) -> str:
    """The labels of the pod of process 0."""
    jobset = "jobset.sigs.k8s.io"
    return f"{jobset}/jobset-name={g.name},{jobset}/job-index=0,batch.kubernetes.io/job-completion-index=0"


def jobset(g: Gke, stage: list[str]) -> dict[str, Any]:
    """The manifest."""
    pods = checked(g, stage)
    metadata: dict[str, Any] = {"name": g.name}
    if g.namespace:
        metadata["namespace"] = g.namespace
    if g.queue:
        metadata["labels"] = {"kueue.x-k8s.io/queue-name": g.queue}
    if g.tpu:  # a job is a slice: all its pods in one node pool, and no other's
        metadata["annotations"] = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": metadata,
        "spec": {
            "failurePolicy": {
                "maxRestarts": g.restarts,
                "restartStrategy": "BlockingRecreate",  # the old pods are gone before new ones write to the same run
                "rules": [
                    {"name": "usersError", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]},
                ],
            },
            "replicatedJobs": [{"name": _JOB, "replicas": pods.jobs, "template": {"spec": _job(g, pods)}}],
        },
    }


def _job(g: Gke, pods: Pods) -> dict[str, Any]:
    code = {"containerName": _CONTAINER, "operator": "In", "values": [USERS_ERROR]}
    return {
        "parallelism": pods.pods,
        "completions": pods.pods,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": code}]},
        "template": {"spec": _pod(g, pods)},
    }


def _pod(g: Gke, pods: Pods) -> dict[str, Any]:
    resource, count = pods.chips
    select = dict(pods.select)
    tolerate = [{"key": resource, "operator": "Exists", "effect": "NoSchedule"}]
    if g.spot:
        select["cloud.google.com/gke-spot"] = "true"
        tolerate.append(
            {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"}
        )
    if g.reservation:
        select["cloud.google.com/reservation-name"] = g.reservation
    volumes: list[dict[str, Any]] = []
    mounts = []
    if g.gpu:  # NCCL needs more than a container's 64 MB
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    if disk := _mount(g):
        volumes.append({"name": "disk", "persistentVolumeClaim": {"claimName": disk[0]}})
        mounts.append({"name": "disk", "mountPath": disk[1]})
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": g.grace,
        **({"serviceAccountName": g.service_account} if g.service_account else {}),
        "securityContext": {"fsGroup": _USER},
        "nodeSelector": select,
        "tolerations": tolerate,
        "containers": [
            {
                "name": _CONTAINER,
                "image": g.image,
                "command": pods.words[:1],  # no shell between: SIGTERM reaches emojax
                "args": pods.words[1:],
                **({"env": pods.environment} if pods.environment else {}),
                "resources": {"limits": {resource: count}},
                **({"volumeMounts": mounts} if mounts else {}),
            }
        ],
        **({"volumes": volumes} if volumes else {}),
    }
