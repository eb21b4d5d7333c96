"""Artifacts as a person would bring them: read from the store, changed, published under a key of their own."""

from __future__ import annotations

import json
import secrets

import clara_chain as chain
import clara_install
import clara_store
from clara_api.digests import sha256_digest
from clara_api.handoff.artifact import FileEntry, Manifest
from clara_store import BUCKET

Files = dict[str, bytes]


def read(adapter_name: str, namespace: str) -> tuple[Files, Manifest]:
    """The files and the manifest of an Adapter that is there."""
    adapter = chain.get("adp", adapter_name, namespace)
    assert adapter is not None, f"{namespace}/{adapter_name} is missing"
    prefix = adapter["spec"]["artifact"]["uri"].removeprefix(f"s3://{BUCKET}/")
    client = clara_store.s3(clara_install.environment())

    def one(path: str) -> bytes:
        return bytes(client.get_object(Bucket=BUCKET, Key=f"{prefix}/{path}")["Body"].read())

    manifest = Manifest.model_validate_json(one("manifest.json"))
    return {f.path: one(f.path) for f in manifest.files}, manifest


def publish(name: str, namespace: str, files: Files, manifest: Manifest) -> tuple[str, str]:
    """Put a variant under a key of its own, in which no decision lies yet; its URI and the digest of its manifest."""
    entries = [
        FileEntry(path=p, size=len(d), sha256=sha256_digest(d).removeprefix("sha256:")) for p, d in files.items()
    ]
    manifest = manifest.model_copy(update={"files": entries})
    client = clara_store.s3(clara_install.environment())
    key = f"adapters/{namespace}/brought/{name}-{secrets.token_hex(4)}"
    for path, data in {**files, "manifest.json": manifest.to_bytes()}.items():
        client.put_object(Bucket=BUCKET, Key=f"{key}/{path}", Body=data)
    return f"s3://{BUCKET}/{key}", manifest.digest()


def bring(name: str, namespace: str, artifact: tuple[str, str], base: chain.Base, **spec: object) -> str:
    """Apply an Adapter FAMILY-X.Y.Z for an artifact that was published."""
    family, version = name.rsplit("-", 1)
    defaults: chain.Object = {
        "family": family,
        "version": version,
        "baseModel": {"name": chain.BASE_NAME, "digest": base.digest},
        "artifact": {"uri": artifact[0], "digest": artifact[1]},
    }
    chain.apply(chain.clara("Adapter", name, namespace, defaults | spec))
    return name


def approve(name: str, namespace: str, reason: str = "nur zum Test") -> None:
    """The administrator's approval under the own name."""
    approval = {"decision": "Approved", "by": chain.whoami(), "reason": reason}
    patch = json.dumps({"spec": {"approval": approval}})
    clara_install.kubectl("patch", "adp", name, "-n", namespace, "--type", "merge", "-p", patch)
