"""What is refused before its bytes come near vLLM, and why."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from clara_agent import checks
from clara_agent.errors import Permanent
from clara_api.digests import sha256_digest
from clara_api.handoff.artifact import Manifest

BASE = "sha256:" + "b" * 64
SHA = "c" * 64
CONFIG = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "bias": "none"}
MODULE = "model.layers.0.self_attn.q_proj"


def manifest(*, paths: tuple[str, ...] = (), **more: Any) -> bytes:
    names = ("adapter_model.safetensors", "adapter_config.json", "fingerprint.json", *paths)
    fields = {
        "family": "steuerrecht",
        "base_model": {"name": "tiny-de", "digest": BASE},
        "rank": 8,
        "alpha": 16,
        "target_modules": ["q_proj"],
        "weights_digest": BASE,
        "files": [{"path": p, "size": 10, "sha256": SHA} for p in names],
    }
    return Manifest(**(fields | more)).to_bytes()


def check(content: bytes, **more: Any) -> Manifest:
    digest = sha256_digest(content)
    limits = {"engine_name": f"x-1.0.0-{digest[7:15]}", "digest": digest, "base_digest": BASE}
    return checks.check_manifest(content, **({"max_rank": 16, "max_bytes": 1000} | limits | more))


def test_a_manifest_in_order_is_accepted():
    assert check(manifest()).rank == 8


@pytest.mark.parametrize(
    ("content", "more", "reason", "words"),
    [
        (manifest(), {"digest": "sha256:" + "0" * 64}, "DigestMismatch", "wanted is"),
        (manifest(), {"engine_name": "x-1.0.0-00000000"}, "DigestMismatch", "wanted is"),
        (b"{}", {}, "ArtifactInvalid", "cannot be read"),
        (manifest(), {"base_digest": "sha256:" + "0" * 64}, "BaseMismatch", "trained on base 'tiny-de'"),
        (manifest(paths=("adapter_model.bin",)), {}, "ArtifactInvalid", "may hold code"),
        (manifest(paths=("optimizer.pt",)), {}, "ArtifactInvalid", "may hold code"),
        (manifest(files=[{"path": "a.json", "size": 1, "sha256": SHA}]), {}, "ArtifactInvalid", "does not list"),
        (manifest(), {"max_bytes": 29}, "NotServable", "at most 29"),
        (manifest(rank=64), {}, "NotServable", "maxLoraRank 16"),
    ],
)
def test_a_manifest_is_refused_with_its_reason(content: bytes, more: dict[str, Any], reason: str, words: str):
    with pytest.raises(Permanent, match=words) as error:
        check(content, **more)
    assert error.value.reason == reason


@pytest.mark.parametrize(
    "feature",
    [
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"bias": "all"},
        {"lora_bias": True},
        {"init_lora_weights": "pissa_niter_4"},
        {"alora_invocation_tokens": [1]},
        {"layer_replication": [[0, 1]]},
        {"use_bdlora": {"x": 1}},
        {"use_qalora": True},
        {"peft_type": "LOHA"},
        {"r": 32},
        {"rank_pattern": {"q_proj": 64}},
    ],
)
def test_what_vllm_cannot_serve_is_refused_by_name(feature: dict[str, Any]):
    with pytest.raises(Permanent) as error:
        checks.check_config(json.dumps(CONFIG | feature).encode(), max_rank=16)
    assert error.value.reason == "NotServable"


def test_a_plain_lora_config_is_accepted():
    assert checks.check_config(json.dumps(CONFIG | {"init_lora_weights": True}).encode(), max_rank=16)["r"] == 8


def test_a_config_that_is_no_config_is_refused():
    for content in (b"", b"[]", b'{"r": "many"}'):
        with pytest.raises(Permanent, match="cannot be read"):
            checks.check_config(content, max_rank=16)


def shapes(a: tuple[int, ...] = (8, 256), b: tuple[int, ...] = (256, 8), module: str = MODULE) -> dict[str, Any]:
    return {f"base_model.model.{module}.lora_A.weight": a, f"base_model.model.{module}.lora_B.weight": b}


def test_tensors_that_fit_the_base_are_accepted():
    checks.check_tensors(shapes(), {f"{MODULE}.weight": (256, 256)}, CONFIG)


@pytest.mark.parametrize(
    ("adapter", "words"),
    [
        ({}, "no LoRA weights"),
        ({"lm_head.weight": (1, 1)}, "no half of a LoRA pair"),
        (dict(list(shapes().items())[:1]), "has only lora_A"),
        (shapes(a=(4, 256), b=(256, 4)), "declared is"),
        (shapes(b=(512, 8)), "the base's is"),
        (shapes(module="model.layers.9.self_attn.q_proj"), "not in this base model"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(adapter: dict[str, Any], words: str):
    with pytest.raises(Permanent, match=words):
        checks.check_tensors(adapter, {f"{MODULE}.weight": (256, 256)}, CONFIG)


def test_shapes_are_read_from_the_header_alone():
    header = json.dumps(
        {"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    )
    assert checks.read_shapes(struct.pack("<Q", len(header)) + header.encode()) == {"w": (2, 3)}
    with pytest.raises(Permanent, match="header"):
        checks.read_shapes(b"PK\x03\x04")
