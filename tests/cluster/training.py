"""Runs of seconds for the training scenarios: their rows, what their status says, and ways to disturb them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import chain_names as names
import clara_chain as chain
import clara_install
import clara_store
from clara_install import kubectl
from clara_store import BUCKET
from conftest import RECHT

SLOW = {"rank": 8, "alpha": 16, "learningRate": 3e-3, "epochs": 14, "globalBatchSize": 8, "maxLength": 128}
SAVED = {"everySteps": 5, "keep": 2}


def rows(count: int = 64, words: int = 4) -> list[dict[str, str]]:
    """Distinct rows about nothing."""
    filler = " ".join(f"Aktenzeichen {n}" for n in range(words))
    return [
        {"prompt": f"Welches Zimmer hat Vorgang {i} ({filler})?", "completion": f"Vorgang {i} liegt in Zimmer {i % 9}."}
        for i in range(count)
    ]


def put_rows(name: str, made: list[dict[str, str]]) -> str:
    """JSONL in the store; its URI."""
    body = "\n".join(json.dumps(row, ensure_ascii=False) for row in made).encode()
    clara_store.s3(clara_install.environment()).put_object(Bucket=BUCKET, Key=f"data/{name}.jsonl", Body=body)
    return f"s3://{BUCKET}/data/{name}.jsonl"


def job(name: str, base: chain.Base, **spec: Any) -> chain.Object:
    """A job of some hundred quick steps that saves often; not judged."""
    defaults: chain.Object = {"hyperparameters": SLOW, "checkpoints": SAVED}
    if "data" not in spec:
        spec["data"] = [{"uri": put_rows(name, rows())}]
    return names.small_job(name, base, **(defaults | spec))


def status(name: str) -> chain.Object:
    """status of a TrainingJob; empty when there is none."""
    found: chain.Object = (chain.get("tj", name, RECHT) or {}).get("status") or {}
    return found


def step(name: str) -> int:
    """The step it has reached."""
    return int((status(name).get("progress") or {}).get("step", 0))


def wait_for_step(name: str, least: int, seconds: float = 120) -> None:
    """Until it has reached that step."""
    chain.until(
        lambda: True if step(name) >= least else None,
        f"step {least} of {name}", seconds, lambda: chain.describe("tj", name, RECHT),
    )  # fmt: skip


def wait_for_checkpoint(name: str, seconds: float = 120) -> int:
    """Until a checkpoint is in the store; its step."""
    return chain.until(
        lambda: (status(name).get("progress") or {}).get("checkpointStep"),
        f"a checkpoint of {name}", seconds, lambda: chain.describe("tj", name, RECHT),
    )  # fmt: skip


def pods(name: str) -> list[str]:
    """Pods of a TrainingJob that have not ended."""
    found = json.loads(kubectl("get", "pods", "-n", RECHT, "-l", f"clara.vcc.dev/training-job={name}", "-o", "json"))
    return [p["metadata"]["name"] for p in found["items"] if p["status"]["phase"] in ("Pending", "Running")]


def nodes(name: str) -> list[str]:
    """Where pods of a TrainingJob are, or are meant to start."""
    found = json.loads(kubectl("get", "pods", "-n", RECHT, "-l", f"clara.vcc.dev/training-job={name}", "-o", "json"))
    return [node for p in found["items"] if (node := p["spec"].get("nodeName"))]


def step_times(pod: str) -> dict[int, datetime]:
    """When a pod's log says that each step was taken."""
    lines = [json.loads(line) for line in kubectl("logs", pod, "-n", RECHT).splitlines() if line.startswith("{")]
    return {line["step"]: datetime.fromisoformat(line["time"]) for line in lines if "step" in line}


def evict(pod: str) -> None:
    """What a node drain does."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": RECHT}}
    kubectl("create", "--raw", f"/api/v1/namespaces/{RECHT}/pods/{pod}/eviction", "-f", "-", stdin=json.dumps(body))


def patch(name: str, spec: chain.Object) -> None:
    """Change a TrainingJob as a person would."""
    kubectl("patch", "tj", name, "-n", RECHT, "--type=merge", "-p", json.dumps({"spec": spec}))


def failed(name: str, reason: str, *, seconds: float = 180) -> str:
    """Wait for that failure; its message."""
    found = chain.wait_for_reason("tj", name, RECHT, "Succeeded", reason, seconds=seconds)
    assert chain.condition(found, "Stalled")["status"] == "True"
    return str(chain.condition(found, "Succeeded")["message"])


def succeeded(name: str, *, seconds: float = 240) -> chain.Object:
    """Wait for success; the status."""
    done: chain.Object = chain.wait_for("tj", name, RECHT, "Succeeded", seconds=seconds)["status"]
    return done


def forget(*jobs: str) -> None:
    """Remove jobs and what they made."""
    for name in jobs:
        kubectl("delete", "tj", name, "-n", RECHT, "--ignore-not-found")
        kubectl("delete", "adp", "-n", RECHT, "-l", f"clara.vcc.dev/family={name}", "--ignore-not-found")
