"""One bad adapter harms nobody else: each is refused by name, and the neighbours keep answering."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator

import clara_chain as chain
import clara_install
import clara_store
import pytest
from artifacts import approve, bring, publish, read
from clara_api.digests import sha256_digest
from clara_store import BUCKET
from conftest import RECHT


@pytest.fixture(autouse=True)
def neighbours_keep_answering(served: chain.Base) -> Iterator[None]:
    """Before and after, the served families answer."""
    yield
    for family in ("steuerrecht", "baurecht"):
        answer = chain.ask(family, "Wann gilt ein Bescheid als bekannt gegeben?")
        assert answer.status == 200
        assert answer.body["model"] == f"{family}-1.0.0"
    for adapter in json.loads(clara_install.kubectl("get", "adp", "-n", RECHT, "-o", "json"))["items"]:
        if adapter["metadata"]["name"].startswith("steuerrecht-0."):
            clara_install.kubectl("delete", "adp", adapter["metadata"]["name"], "-n", RECHT)


def test_an_artifact_of_another_base_is_refused(served: chain.Base):
    files, manifest = read("steuerrecht-1.0.0", RECHT)
    other = manifest.base_model.model_copy(update={"digest": "sha256:" + "d" * 64})
    artifact = publish("other-base", RECHT, files, manifest.model_copy(update={"base_model": other}))
    name = bring("steuerrecht-0.1.0", RECHT, artifact, served)
    found = chain.wait_for_reason("adp", name, RECHT, "Ready", "BaseMismatch", seconds=120)
    assert chain.condition(found, "Stalled")["status"] == "True"


def test_a_tampered_artifact_is_refused(served: chain.Base):
    files, manifest = read("steuerrecht-1.0.0", RECHT)
    artifact = publish("tampered", RECHT, files, manifest)
    weights = files["adapter_model.safetensors"]
    changed = weights[:-4] + bytes(b ^ 0xFF for b in weights[-4:])
    key = artifact[0].removeprefix(f"s3://{BUCKET}/")
    client = clara_store.s3(clara_install.environment())
    client.put_object(Bucket=BUCKET, Key=f"{key}/adapter_model.safetensors", Body=changed)
    name = bring("steuerrecht-0.2.0", RECHT, artifact, served)
    found = chain.wait_for_reason("adp", name, RECHT, "Ready", "ArtifactInvalid", seconds=120)
    assert "adapter_model.safetensors" in chain.condition(found, "Ready")["message"]


def test_a_pickle_is_refused_by_name(served: chain.Base):
    files, manifest = read("steuerrecht-1.0.0", RECHT)
    artifact = publish("pickle", RECHT, files | {"adapter_model.bin": b"\x80\x04."}, manifest)
    name = bring("steuerrecht-0.3.0", RECHT, artifact, served)
    found = chain.wait_for_reason("adp", name, RECHT, "Ready", "ArtifactInvalid", seconds=120)
    assert "adapter_model.bin" in chain.condition(found, "Ready")["message"]


def test_an_adapter_that_changes_nothing_is_never_served(served: chain.Base):
    """All lora_B are zero, the manifest is right, a reviewer approves it: only the proof on the engine is left."""
    files, manifest = read("steuerrecht-1.0.0", RECHT)
    zeroed = without_effect(files["adapter_model.safetensors"])
    weights_digest = sha256_digest(zeroed)
    changed = manifest.model_copy(update={"weights_digest": weights_digest})
    artifact = publish("no-effect", RECHT, files | {"adapter_model.safetensors": zeroed}, changed)
    name = bring("steuerrecht-1.0.1", RECHT, artifact, served)
    chain.wait_for_reason("adp", name, RECHT, "Ready", "NeedsReview", seconds=120)
    approve(name, RECHT)
    found = chain.wait_for_reason("adp", name, RECHT, "Ready", "LoadFailed", seconds=120)
    assert "changes nothing" in chain.condition(found, "Ready")["message"]
    clara_install.kubectl("delete", "adp", name, "-n", RECHT)
    chain.wait_for("sdep", "verwaltung", RECHT, seconds=60)


def without_effect(weights: bytes, is_b: Callable[[str], bool] = lambda name: "lora_B" in name) -> bytes:
    """The safetensors with every lora_B set to zero."""
    (length,) = struct.unpack("<Q", weights[:8])
    header = json.loads(weights[8 : 8 + length])
    data = bytearray(weights)
    for name, entry in header.items():
        if name != "__metadata__" and is_b(name):
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            data[start:end] = bytes(end - start)
    return bytes(data)
