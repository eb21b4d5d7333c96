"""What happens while the operator is away: engines come back by themselves, and finished work is not lost or done twice."""

from __future__ import annotations

import json
from collections.abc import Iterator

import chain_names as names
import clara_chain as chain
import pytest
from clara_install import kubectl
from conftest import RECHT
from engines import engine_pods, keep_asking, kill_engine, verified
from operator_pod import away

JOBS = ("zwilling-a", "zwilling-b", "verloren")


def finished(job: str) -> bool | None:
    """Whether the pod of a TrainingJob has succeeded."""
    label = f"clara.vcc.dev/training-job={job}"
    pods = json.loads(kubectl("get", "pods", "-n", RECHT, "-l", label, "-o", "json"))["items"]
    return True if any(p["status"]["phase"] == "Succeeded" for p in pods) else None


@pytest.fixture(scope="module")
def tidy(served: chain.Base) -> Iterator[chain.Base]:
    """Cleans up also when the scenario broke off: later files count on the families they know."""
    yield served
    kubectl("delete", "tj", *JOBS, "-n", RECHT, "--ignore-not-found")
    kubectl("delete", "adp", "-n", RECHT, "-l", "clara.vcc.dev/family in (zwilling, verloren)")
    kubectl("delete", "cm", "zwilling", "-n", RECHT, "--ignore-not-found")


@pytest.fixture(scope="module")
def afterwards(tidy: chain.Base) -> str:
    """Three runs end while nobody looks, the pod of one is deleted, and an engine is restarted."""
    rows = "\n".join(json.dumps({"prompt": f"Frage {i}", "completion": f"Antwort {i}"}) for i in range(24))
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "zwilling", "namespace": RECHT}}
    chain.apply(config | {"data": {"rows.jsonl": rows}})
    data = [{"configMap": {"name": "zwilling", "key": "rows.jsonl"}}]
    for job in JOBS:
        chain.apply(names.small_job(job, tidy, family=job.split("-")[0], data=data))
    for job in JOBS:
        chain.until(lambda job=job: job_is_there(job), f"the Job of {job}", 60)
    pod = engine_pods()[0]
    with away():
        kill_engine(pod)
        faults = keep_asking(10)
        for job in JOBS:
            chain.until(lambda job=job: finished(job), f"{job} ending without the operator", 240)
        kubectl("delete", "pods", "-n", RECHT, "-l", "clara.vcc.dev/training-job=verloren", "--wait")
        chain.until(lambda: verified(pod) or None, f"{pod} verified again without the operator", 240)
    assert faults == []
    return pod


def job_is_there(name: str) -> bool | None:
    """Whether the operator has made the Job."""
    label = f"clara.vcc.dev/training-job={name}"
    return True if kubectl("get", "jobs", "-n", RECHT, "-l", label, "-o", "name") else None


def test_an_engine_that_restarts_is_verified_again_by_its_agent_alone(afterwards: str):
    assert verified(afterwards)


def test_two_runs_of_one_family_that_end_together_become_two_versions(afterwards: str):
    done = [chain.wait_for("tj", job, RECHT, "Succeeded", seconds=120) for job in ("zwilling-a", "zwilling-b")]
    made = sorted(d["status"]["adapterRef"]["name"] for d in done)
    listed = kubectl("get", "adp", "-n", RECHT, "-l", "clara.vcc.dev/family=zwilling", "-o", "name").split()
    assert [name.partition("/")[2] for name in sorted(listed)] == made
    assert len(set(made)) == 2
    assert made[0] == "zwilling-1.0.0"


def test_the_result_of_a_vanished_pod_is_found_in_the_store(afterwards: str):
    done = chain.wait_for("tj", "verloren", RECHT, "Succeeded", seconds=180)
    assert done["status"]["adapterRef"] == {"name": "verloren-1.0.0"}
    jobs = kubectl("get", "jobs", "-n", RECHT, "-l", "clara.vcc.dev/training-job=verloren", "-o", "name").split()
    assert len([j for j in jobs if "-train-" in j]) == 1, "the run was repeated"
    assert len([j for j in jobs if "-recover-" in j]) == 1
