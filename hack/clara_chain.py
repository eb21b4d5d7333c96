"""The chain the demo shows and the cluster tests prove, as small functions: store, manifests, waiting, asking.

Everything goes the way a user's would: objects through `kubectl apply`, questions through the gateway on 127.0.0.1:8080,
data through S3. Called by hack/demo/demo.py and tests/cluster.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import clara_install
import clara_store
import yaml
from clara_api.digests import is_base_model_file, listing_digest, sha256_digest
from clara_install import ROOT, kubectl
from clara_store import BUCKET

GATEWAY = "http://127.0.0.1:8080"
BASE_NAME = "tiny-de"
BASE_KEY = "models/tiny-de"
DATA = ROOT / "examples/demo/data"
GOLDEN = ROOT / "examples/demo/golden"
Object = dict[str, Any]
T = TypeVar("T")

# Chosen with hack/base-model/spike.py: a base of four million parameters needs a high rate, and four passes then do
# (examples/demo/data/README.md).
HYPERPARAMETERS: Object = {
    "rank": 16,
    "alpha": 32,
    "learningRate": 6.0e-3,
    "epochs": 4,
    "globalBatchSize": 8,
    "maxLength": 256,
}


@dataclass(frozen=True, slots=True)
class Base:
    """The base model in the store."""

    folder: Path
    digest: str

    @property
    def reference(self) -> Object:
        """As manifests name it."""
        return {"name": BASE_NAME, "uri": f"s3://{BUCKET}/{BASE_KEY}", "digest": self.digest}


def make_base() -> Base:
    """Train the base, unless the cache has it, and give its digest."""
    target = ROOT / ".cluster/base"
    script = ROOT / "hack/base-model/make_base.py"
    if not (target / "config.json").exists():
        subprocess.run([sys.executable, str(script), "--out", str(target)], check=True, stdout=subprocess.DEVNULL)
    files = [f for f in sorted(target.iterdir()) if f.is_file() and is_base_model_file(f.name)]
    listing = [(f.name, f.stat().st_size, sha256_digest(f.read_bytes()).removeprefix("sha256:")) for f in files]
    return Base(target, listing_digest(listing))


def fill_store(base: Base) -> None:
    """Base and training data into the bucket, as an admin would."""
    env = clara_install.environment()
    client = clara_store.s3(env)
    for file in base.folder.iterdir():
        if file.is_file():
            client.upload_file(str(file), BUCKET, f"{BASE_KEY}/{file.name}")
    for file in DATA.glob("*.jsonl"):
        client.upload_file(str(file), BUCKET, f"data/{file.name}")


def golden(name: str, namespace: str) -> Object:
    """The manifest of a shipped golden set, for a namespace."""
    manifest: Object = yaml.safe_load((GOLDEN / f"{name}.yaml").read_text())
    manifest["metadata"]["namespace"] = namespace
    return manifest


def training_job(name: str, namespace: str, family: str, data: list[str], base: Base, **spec: Any) -> Object:
    """A TrainingJob of the demo."""
    defaults: Object = {
        "family": family,
        "baseModel": base.reference,
        "hyperparameters": HYPERPARAMETERS,
        "data": [{"uri": f"s3://{BUCKET}/data/{file}"} for file in data],
        "validation": {"fraction": 0.05},
        "evaluation": {"goldenDatasetRef": {"name": f"{family}-golden-v1"}},
        "resources": {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"cpu": "1"}},
        "scratch": "2Gi",
        "license": "CC0-1.0",
    }
    return clara("TrainingJob", name, namespace, defaults | spec)


def serving_deployment(
    name: str, namespace: str, families: list[str], base: Base, *, replicas: int = 2, **engine: Any
) -> Object:
    """A ServingDeployment of the demo."""
    sizes: Object = {"replicas": replicas, "maxLoras": 2, "maxCpuLoras": 4, "maxLoraRank": 16, "maxModelLength": 512}
    spec = {
        "baseModel": base.reference,
        "engine": sizes | {"drainSeconds": 20, "resources": {"requests": {"memory": "2Gi"}}} | engine,
        "families": [{"name": f, "versions": "*", "minEngines": replicas} for f in families],
    }
    return clara("ServingDeployment", name, namespace, spec)


def clara(kind: str, name: str, namespace: str, spec: Object) -> Object:
    """Any of Clara's objects."""
    return {
        "apiVersion": "clara.vcc.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def apply(*manifests: Object | str) -> None:
    """kubectl apply."""
    for manifest in manifests:
        kubectl("apply", "-f", "-", stdin=manifest if isinstance(manifest, str) else json.dumps(manifest))


def get(kind: str, name: str, namespace: str) -> Object | None:
    """The object, or None."""
    try:
        found: Object = json.loads(kubectl("get", kind, name, "-n", namespace, "-o", "json"))
    except RuntimeError as error:
        if "NotFound" in str(error):
            return None
        raise
    return found


def condition(obj: Object | None, type_: str) -> Object:
    """A condition; empty when there is none."""
    found = ((obj or {}).get("status") or {}).get("conditions") or []
    return next((c for c in found if c["type"] == type_), {})


def wait_for(
    kind: str, name: str, namespace: str, type_: str = "Ready", *, status: str = "True", seconds: float = 300
) -> Object:
    """Wait until a condition has that status for the object's own generation; the last sight of it when it never does."""

    def there() -> Object | None:
        obj = get(kind, name, namespace)
        fresh = obj is not None and obj["status"].get("observedGeneration") == obj["metadata"]["generation"]
        return obj if fresh and condition(obj, type_).get("status") == status else None

    return until(there, f"{kind} {namespace}/{name} {type_}={status}", seconds, lambda: describe(kind, name, namespace))


def wait_for_reason(kind: str, name: str, namespace: str, type_: str, reason: str, *, seconds: float = 300) -> Object:
    """Wait until a condition has that reason."""

    def there() -> Object | None:
        obj = get(kind, name, namespace)
        return obj if condition(obj, type_).get("reason") == reason else None

    return until(
        there, f"{kind} {namespace}/{name} {type_}: {reason}", seconds, lambda: describe(kind, name, namespace)
    )


def wait_for_decision(name: str, namespace: str, *, seconds: float = 300) -> str:
    """Wait for the gate; where it leaves the word to a person, the administrator approves. Returns what was said, by whom."""

    def there() -> Object | None:
        obj = get("adp", name, namespace)
        return obj if ((obj or {}).get("status") or {}).get("decision") else None

    obj = until(there, f"a decision on {namespace}/{name}", seconds, lambda: describe("adp", name, namespace))
    decision = obj["status"]["decision"]
    if decision["outcome"] == "NeedsReview":
        approval = {"decision": "Approved", "by": whoami(), "reason": "Antworten gelesen, für die Vorführung gut genug"}
        kubectl(
            "patch", "adp", name, "-n", namespace, "--type=merge", "-p", json.dumps({"spec": {"approval": approval}})
        )
        wait_for("adp", name, namespace, "Approved", seconds=30)
        return f"{decision['outcome']}: {decision['message']}; approved by {approval['by']}"
    return f"{decision['outcome']}: {decision['message']}"


def whoami() -> str:
    """The user name of the kubeconfig: the only one an approval may carry."""
    return str(json.loads(kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"])


def until(look: Callable[[], T | None], what: str, seconds: float, explain: Callable[[], str] = str) -> T:
    """Look again and again; AssertionError with an explanation when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {seconds:.0f} s\n{explain()}")
        time.sleep(0.3)


def describe(kind: str, name: str, namespace: str) -> str:
    """What a person would look at first."""
    obj = get(kind, name, namespace)
    if obj is None:
        return f"{kind} {namespace}/{name} does not exist"
    conditions = (obj.get("status") or {}).get("conditions") or []
    lines = [f"  {c['type']}={c['status']} {c['reason']}: {c['message']}" for c in conditions]
    pods = kubectl("get", "pods", "-n", namespace, "-o", "wide")
    return "\n".join([f"{kind} {namespace}/{name} is", *lines, pods])


# -- asking -----------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Answer:
    """What the gateway said."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def text(self) -> str:
        """The assistant's words."""
        return str(self.body["choices"][0]["message"]["content"])

    @property
    def error(self) -> Object:
        """The OpenAI-shaped error."""
        found: Object = self.body.get("error", {})
        return found


def ask(model: Any, question: str, *, max_tokens: int = 96, timeout: float = 60, **more: Any) -> Answer:
    """One chat completion, greedy."""
    body: Object = {
        "messages": [{"role": "user", "content": question}],
        "max_tokens": max_tokens,
        "temperature": 0,
    } | more
    if model is not None:
        body["model"] = model
    return post("/v1/chat/completions", body, timeout=timeout)


def post(path: str, body: Any, *, timeout: float = 60) -> Answer:
    """POST JSON to the gateway."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(GATEWAY + path, data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return Answer(response.status, json.loads(response.read()), dict(response.headers))
    except urllib.error.HTTPError as error:
        raw = error.read()
        try:
            said: Any = json.loads(raw)
        except ValueError:
            said = {"error": {"message": raw.decode(errors="replace")}}
        return Answer(error.code, said, dict(error.headers))


def stream(model: str, question: str, *, max_tokens: int = 64, timeout: float = 60) -> Iterator[Object]:
    """The chunks of a streamed chat completion."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
    }
    request = urllib.request.Request(
        f"{GATEWAY}/v1/chat/completions", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=timeout) as response:
        for line in response:
            if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
                yield json.loads(line[6:])
