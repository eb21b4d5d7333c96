"""The people, objects and commands with which the policies are proven. Used by test_who_*.py and their fixture."""

from __future__ import annotations

import json
from typing import Any

Object = dict[str, Any]
SYSTEM, TENANT = "chart-test-policies", "chart-test-people"
OPERATOR = f"system:serviceaccount:{SYSTEM}:clara-operator"
DIGEST = "sha256:" + "a" * 64
BASE = {"name": "tiny", "uri": "s3://clara/models/tiny", "digest": DIGEST}


def clara(kind: str, name: str, spec: Object, **metadata: Any) -> Object:
    meta = {"name": name, "namespace": TENANT} | metadata
    return {"apiVersion": "clara.vcc.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}


def adapter(name: str, **spec: Any) -> Object:
    version = name.rsplit("-", 1)[1]
    artifact = {"uri": "s3://clara/adapters/x/", "digest": DIGEST}
    base = {"name": "tiny", "digest": DIGEST}
    return clara(
        "Adapter", name, {"family": "recht", "version": version, "baseModel": base, "artifact": artifact} | spec
    )


def golden(name: str, **judge: Any) -> Object:
    spec: Object = {"family": "recht", "samples": [{"id": "a", "prompt": "p", "reference": "r"}]}
    return clara("GoldenDataset", name, spec | ({"judge": judge} if judge else {}))


def approval(by: str, decision: str = "Approved") -> Object:
    return {"decision": decision, "by": by, "reason": "checked"}


def patch(name: str, user: str, spec: Object, kind: str = "adp") -> list[str]:
    return ["patch", kind, name, "-n", TENANT, f"--as={user}", "--type=merge", "-p", json.dumps({"spec": spec})]


def training_job(name: str, **spec: Any) -> Object:
    return clara("TrainingJob", name, {"family": "recht", "baseModel": BASE, "data": [{"uri": "s3://clara/d"}]} | spec)
