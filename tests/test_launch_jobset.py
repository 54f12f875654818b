"""The JobSet is one: read with the models that Kubeflow publishes of jobset.x-k8s.io/v1alpha2 and of Kubernetes."""

from typing import Any

import pytest
from kubeflow_trainer_api.models import JobsetV1alpha2JobSet

import gke_jobset
from gke_jobset import Gke

STAGE = ["train", "--out", "gs://bucket/run1"]
TPU = Gke(name="run1", image="i", tpu="v5e:4x4")
GPU = Gke(name="run1", image="i", gpu="nvidia-h100-80gb", nodes=3, gpus_per_node=4, mount="disk:/data")
FULL = Gke(
    name="run1",
    image="i",
    tpu="v6e:8x8",
    slices=2,
    spot=True,
    queue="q",
    namespace="n",
    service_account="s",
    restarts=0,
)
CASES = {
    "one slice": TPU,
    "one host": Gke(name="run1", image="i", tpu="v5e:1x1"),
    "blocks": Gke(name="run1", image="i", tpu="tpu7x:4x4x8", slices=2, reservation="r"),
    "full": FULL,
    "gpu": GPU,
    "spot gpu": Gke(name="run1", image="i", gpu="nvidia-l4", spot=True),
}
# values that the models take as any text; jobset.x-k8s.io_jobsets.yaml and the Job API enumerate them
ENUMERATED = {
    "restartStrategy": {"Recreate", "BlockingRecreate"},
    "completionMode": {"Indexed", "NonIndexed"},
    "podReplacementPolicy": {"Failed", "TerminatingOrFailed"},
    "restartPolicy": {"Never", "OnFailure"},
    "action": {"FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"} | {"FailJob", "Ignore", "Count"},
    "effect": {"NoSchedule", "NoExecute", "PreferNoSchedule"},
    "operator": {"In", "NotIn", "Exists", "Equal"},
    "medium": {"", "Memory"},
}


def differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [d for key in ours | theirs for d in differences(ours.get(key), theirs.get(key), f"{path}.{key}")]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [d for i, pair in enumerate(zip(ours, theirs, strict=True)) for d in differences(*pair, f"{path}.{i}")]
    return [] if ours == theirs else [f"{path}: {ours!r} ours, {theirs!r} read"]


def words(tree: Any) -> list[tuple[str, Any]]:
    """Every (field, value) that is no collection."""
    if isinstance(tree, list):
        return [pair for item in tree for pair in words(item)]
    return (
        [pair for key, v in tree.items() for pair in (words(v) if isinstance(v, dict | list) else [(key, v)])]
        if isinstance(tree, dict)
        else []
    )


def job_of(g: Gke) -> dict[str, Any]:
    (replicated,) = gke_jobset.jobset(g, STAGE)["spec"]["replicatedJobs"]
    return {"replicas": replicated["replicas"], **replicated["template"]["spec"]}


@pytest.mark.parametrize("case", CASES)
def test_the_manifest_is_a_jobset_and_nothing_else(case: str) -> None:
    """A field that is not theirs is lost in reading, one that is missing is filled in, a wrong type is refused."""
    manifest = gke_jobset.jobset(CASES[case], STAGE)
    read = JobsetV1alpha2JobSet.from_dict(manifest)
    assert read is not None
    assert differences(manifest, read.to_dict()) == []
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    for field, value in words(manifest):
        assert value in ENUMERATED.get(field, {value}), field


@pytest.mark.parametrize("case", CASES)
def test_there_are_as_many_pods_as_the_run_waits_for(case: str) -> None:
    job = job_of(CASES[case])
    (container,) = job["template"]["spec"]["containers"]
    assert job["completions"] == job["parallelism"]
    assert container["args"][container["args"].index("--processes") + 1] == str(job["replicas"] * job["parallelism"])


@pytest.mark.parametrize(
    ("name", "pods", "chips"),
    [
        ("v5e:1x1", 1, 1),
        ("v5e:2x2", 1, 4),
        ("v5e:2x4", 2, 4),
        ("v6e:16x16", 64, 4),
        ("tpu7x:2x2x1", 1, 4),
        ("v5p:4x4x4", 16, 4),
    ],
)
def test_a_pod_asks_for_all_chips_of_its_host(name: str, pods: int, chips: int) -> None:
    job = job_of(Gke(name="run1", image="i", tpu=name))
    spec = job["template"]["spec"]
    assert (job["parallelism"], spec["containers"][0]["resources"]["limits"]) == (pods, {"google.com/tpu": chips})
    assert spec["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == name.split(":")[1]


def test_a_users_error_ends_the_run_and_anything_else_restarts_all_pods() -> None:
    """A Job fails with the reason PodFailurePolicy for that exit code only; JobSet restarts for every other reason."""
    spec = gke_jobset.jobset(FULL, STAGE)["spec"]
    job = job_of(FULL)
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule == {"action": "FailJob", "onExitCodes": {"containerName": "emojax", "operator": "In", "values": [2]}}
    assert job["template"]["spec"]["containers"][0]["name"] == "emojax"
    assert (job["backoffLimit"], job["template"]["spec"]["restartPolicy"]) == (0, "Never"), "no pod is replaced alone"
    (failure,) = spec["failurePolicy"]["rules"]
    assert (failure["action"], failure["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])


def test_gpu_pods_are_told_where_to_meet_and_who_they_are() -> None:
    spec = job_of(GPU)["template"]["spec"]
    (container,) = spec["containers"]
    assert container["args"][-4:] == ["--coordinator", "run1-host-0-0.run1:8476", "--process", "$(PROCESS)"]
    assert [variable["name"] for variable in container["env"]] == ["PROCESS"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}


def test_the_same_manifest_twice_is_the_same_run() -> None:
    assert gke_jobset.jobset(FULL, STAGE) == gke_jobset.jobset(FULL, STAGE)
    assert "--resume" in job_of(FULL)["template"]["spec"]["containers"][0]["args"]
