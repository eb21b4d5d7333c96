"""A real API server for the runtime, a namespace per test, and toy operators as processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import clara_testing.toy_operator as toy
import pytest
import yaml
from aiohttp import ClientError, ClientSession
from clara_api.meta import API_VERSION
from clara_operator.errors import ApiError
from clara_operator.runtime.api import APPLY, MERGE, Api
from clara_operator.runtime.connection import Connection, connect
from clara_operator.runtime.resources import BY_KIND, LEASE
from clara_testing.api_proxy import ApiProxy

ROOT = Path(__file__).parents[3]
DATASETS = BY_KIND["GoldenDataset"]
OPERATOR = {
    "Impersonate-User": "system:serviceaccount:clara-system:clara-operator",
    "Impersonate-Group": "system:masters",
}
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(scope="session")
def connection(clara: object) -> Connection:
    """The cluster of KUBECONFIG, or the local one; as the operator, because a policy lets nobody else write a status.

    `clara` comes first: the kept policies believe the operator of the newest install, and the chart's own tests make others.
    """
    path = Path(os.environ.get("KUBECONFIG") or ROOT / ".cluster" / "kubeconfig")
    if not path.exists():
        pytest.fail(f"{path} does not exist: run `make cluster-up`, or set KUBECONFIG")
    os.environ["KUBECONFIG"] = str(path)
    found = connect()
    return replace(found, fixed_headers=found.fixed_headers | OPERATOR)


@dataclass
class Kube:
    """What the tests do to the cluster, beside the operator."""

    api: Api
    namespace: str
    outputs: Path

    async def add(self, name: str, label: str = "one") -> None:
        """A GoldenDataset that the toy will talk about."""
        spec = {
            "family": "recht",
            "samples": [{"id": "a", "prompt": "?", "reference": "!"}],
            "scorers": [{"name": "exact", "weight": 1}],
        }
        meta = {"name": name, "namespace": self.namespace, "labels": {"ask": label}}
        body = {"apiVersion": API_VERSION, "kind": toy.KIND, "metadata": meta, "spec": spec}
        await self.api.request("POST", DATASETS.path(self.namespace), body=body)

    async def get(self, name: str) -> dict[str, Any]:
        """The object as it is."""
        return await self.api.request("GET", DATASETS.path(self.namespace, name))

    async def said(self, name: str) -> str:
        """The message the toy wrote last."""
        conditions = ((await self.get(name)).get("status") or {}).get("conditions") or [{}]
        return str(conditions[0].get("message", ""))

    async def label(self, name: str, value: str) -> None:
        """Ask something else."""
        body = {"metadata": {"labels": {"ask": value}}}
        await self.api.request("PATCH", DATASETS.path(self.namespace, name), body=body, content_type=MERGE)

    async def delete(self, name: str) -> None:
        """Remove it."""
        await self.api.request("DELETE", DATASETS.path(self.namespace, name))

    async def leader(self) -> str:
        """Who holds the Lease."""
        try:
            lease = await self.api.request("GET", LEASE.path(self.namespace, "clara-operator"))
        except ApiError:
            return ""
        return str((lease.get("spec") or {}).get("holderIdentity") or "")

    async def until(self, what: str, fact: Callable[[], Any], seconds: float = 30) -> None:
        """Wait for an awaitable fact; the failure says for what."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if await fact():
                return
            await asyncio.sleep(0.1)
        logs = "\n".join(f"{p.name}: {p.read_text()[-3000:]}" for p in self.outputs.glob("*.log"))
        pytest.fail(f"not within {seconds} s: {what}\n{logs}")


@pytest.fixture
async def kube(connection: Connection, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kube]:
    """An own namespace, gone afterwards; the CRDs are applied when the cluster has none."""
    api = Api(connection, timeout=30)
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        crd = yaml.safe_load(file.read_text())
        try:
            await api.request("GET", f"{CRDS}/{crd['metadata']['name']}")
        except ApiError:
            path, params = f"{CRDS}/{crd['metadata']['name']}", {"fieldManager": "clara-tests"}
            await api.request("PATCH", path, params=params, body=crd, content_type=APPLY)
    name = f"runtime-{os.getpid()}-{abs(hash(request.node.name)) % 10**6}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    await api.request("POST", "/api/v1/namespaces", body=body)
    yield Kube(api, name, tmp_path)
    await api.request("DELETE", f"/api/v1/namespaces/{name}")
    await api.close()


@pytest.fixture
async def proxy(connection: Connection, tmp_path: Path) -> AsyncIterator[ApiProxy]:
    """What the replicas take for the API server; it can be cut."""
    async with ApiProxy(connection).serving() as one:
        named = {"name": "proxy"}
        config = {
            "current-context": "proxy",
            "contexts": [named | {"context": {"cluster": "proxy", "user": "proxy"}}],
            "clusters": [named | {"cluster": {"server": one.url}}],
            "users": [named | {"user": {}}],
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        yield one


@dataclass
class Replica:
    """A running toy operator."""

    name: str
    process: subprocess.Popen[bytes]
    output: Path
    metrics_port: int

    async def ready(self) -> bool:
        """What its /readyz says."""
        try:
            async with (
                ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.metrics_port}/readyz") as answer,
            ):
                return answer.status == 200
        except ClientError:
            return False

    def log(self) -> str:
        """What it said so far."""
        return self.output.read_text()


@pytest.fixture
def replica(proxy: ApiProxy, kube: Kube, tmp_path: Path) -> Iterator[Callable[..., Replica]]:
    """Start toy operators: replica('a', CLARA_LEASE_SECONDS='3')."""
    started: list[Replica] = []

    def start(name: str, **environment: str) -> Replica:
        port = 20000 + (os.getpid() * 7 + len(started) * 2) % 12000  # below the ports that the kernel gives to clients
        output = tmp_path / f"{name}-{len(started)}.log"
        own = {
            "KUBECONFIG": str(tmp_path / "kubeconfig"),
            "CLARA_NAMESPACE": kube.namespace,
            "CLARA_WATCH_NAMESPACES": kube.namespace,
            "CLARA_POD_NAME": name,
            "CLARA_POD_IP": "198.18.0.1",
            "CLARA_TRAINER_IMAGE": "none",
            "CLARA_ENGINE_IMAGE": "none",
            "CLARA_ARTIFACT_PREFIX": "s3://clara",
            "CLARA_ALLOWED_PREFIXES": "s3://clara",
            "CLARA_PROGRESS_PORT": str(port),
            "CLARA_METRICS_PORT": str(port + 1),
        }
        with output.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, toy.__file__], env=os.environ | own | environment, stdout=log, stderr=log
            )
        started.append(Replica(name, process, output, port + 1))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
