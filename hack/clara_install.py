"""Install Clara into the cluster of KUBECONFIG with its Helm chart, as the demo and the cluster tests use it.

    python hack/clara_install.py [NAMESPACE …]      namespaces to watch, default: recht

The store is the local S3 server when CLARA_S3_ENDPOINT is set; each namespace gets its Secret `clara-store`. Called by
`make install`, by hack/demo and by tests/cluster.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import clara_store
from clara_store import BUCKET

ROOT = Path(__file__).resolve().parent.parent
SYSTEM = "clara-system"
ISSUER_PATH = "/.well-known/openid-configuration"


def environment() -> dict[str, str]:
    """This process' environment with the local cluster's names in it; unchanged for CLARA_CLUSTER=existing."""
    if os.environ.get("CLARA_CLUSTER") == "existing":
        return dict(os.environ)
    printed = subprocess.run(
        [sys.executable, str(ROOT / "hack/local-cluster"), "env"], capture_output=True, text=True, check=True
    ).stdout
    values = dict(line.removeprefix("export ").split("=", 1) for line in printed.splitlines())
    path = values.pop("PATH").replace("$PATH", os.environ["PATH"])
    return {**os.environ, **{k: v.strip("'") for k, v in values.items()}, "PATH": path}


def kubectl(*arguments: str, stdin: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run kubectl and return what it printed; RuntimeError with its own words otherwise."""
    return run("kubectl", *arguments, stdin=stdin, env=env)


def run(*command: str, stdin: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a program; RuntimeError holds what it said."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, env=dict(env or environment()), check=False
    )
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command[:8])} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}"
        )
    return done.stdout


def make_namespace(name: str, env: Mapping[str, str]) -> None:
    """A tenant's namespace with its key to the store."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "clara-store", "namespace": name},
        "stringData": clara_store.key_of(name, env),
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    for manifest in (namespace, secret):
        kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(manifest), env=env)


def values(namespaces: Sequence[str], env: Mapping[str, str]) -> dict[str, Any]:
    """Helm values of a development installation on this machine."""
    issuer = json.loads(kubectl("get", "--raw", ISSUER_PATH, env=env))["issuer"]
    images = json.loads((ROOT / ".cluster/images.json").read_text())["images"]
    return {
        "watchNamespaces": list(namespaces),
        "securityMode": "development",
        "images": images,
        "serviceAccountIssuer": issuer,
        "artifactStore": {
            "prefix": f"s3://{BUCKET}",
            "allowedPrefixes": [
                f"s3://{BUCKET}/models",
                f"s3://{BUCKET}/data",
                f"s3://{BUCKET}/adapters/{{namespace}}",
            ],
        },
        "engine": {"cpu": True},
        "gateway": {"hostPort": 8080, "defaultNamespace": namespaces[0]},
    }


def install(namespaces: Sequence[str], *, release: str = "clara", extra: Mapping[str, Any] | None = None) -> None:
    """Namespaces, store, chart; returns when operator and gateway are ready."""
    env = environment()
    clara_store.make_bucket(env)
    for name in namespaces:
        make_namespace(name, env)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({**values(namespaces, env), **(extra or {})}, file)
        file.flush()
        chart = str(ROOT / "helm/clara")
        run(
            "helm", "upgrade", "--install", release, chart, "--namespace", SYSTEM, "--create-namespace",
            "--values", file.name, "--take-ownership", "--wait", "--timeout", "180s", env=env,
        )  # fmt: skip


if __name__ == "__main__":
    install(sys.argv[1:] or ["recht"])
    print(f"Clara is installed: operator and gateway in namespace {SYSTEM}, gateway on http://127.0.0.1:8080")
