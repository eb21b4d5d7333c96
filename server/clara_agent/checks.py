"""Everything that is checked before an adapter's bytes may come near vLLM. Pure; called by `fetch`, without torch.

What vLLM would refuse is refused here first, with a better sentence: a read error inside vLLM's batch ends the engine.
The table of features follows PEFTHelper.validate_legal of vLLM 0.32; a contract test compares them.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from typing import Any

from clara_api.digests import sha256_digest
from clara_api.handoff.artifact import CONFIG, FINGERPRINT, WEIGHTS, Manifest
from pydantic import ValidationError

from clara_agent.errors import ARTIFACT_INVALID, BASE_MISMATCH, DIGEST_MISMATCH, NOT_SERVABLE, Permanent

MAX_HEADER_BYTES = 16 << 20
REFUSED_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py", ".so")
INITS_THAT_KEEP_THE_BASE = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
TENSOR = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight$")

Shapes = Mapping[str, tuple[int, ...]]


def check_manifest(
    content: bytes, *, engine_name: str, digest: str, base_digest: str, max_rank: int, max_bytes: int
) -> Manifest:
    """The manifest, if it is the wanted one, for this base, and lists nothing but plain files."""
    actual = sha256_digest(content)
    if actual != digest or not engine_name.endswith(digest.removeprefix("sha256:")[:8]):
        raise Permanent(DIGEST_MISMATCH, f"manifest.json is {actual}, wanted is {digest} as '{engine_name}'")
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise Permanent(ARTIFACT_INVALID, f"manifest.json cannot be read: {error.errors()[0]['msg']}") from error
    if manifest.base_model.digest != base_digest:
        raise Permanent(
            BASE_MISMATCH,
            f"trained on base '{manifest.base_model.name}' ({manifest.base_model.digest}), this engine runs {base_digest}",
        )
    for file in manifest.files:
        if file.path.endswith(REFUSED_SUFFIXES):
            raise Permanent(ARTIFACT_INVALID, f"'{file.path}' may hold code; only safetensors are accepted")
    for path in (WEIGHTS, CONFIG, FINGERPRINT):
        if manifest.file(path) is None:
            raise Permanent(ARTIFACT_INVALID, f"manifest.json does not list {path}")
    if (total := sum(f.size for f in manifest.files)) > max_bytes:
        raise Permanent(NOT_SERVABLE, f"the artifact has {total} bytes, this engine takes at most {max_bytes}")
    if manifest.rank > max_rank:
        raise Permanent(NOT_SERVABLE, f"rank {manifest.rank} is above this engine's maxLoraRank {max_rank}")
    return manifest


def check_config(content: bytes, *, max_rank: int) -> dict[str, Any]:
    """adapter_config.json, if vLLM can serve it as it is."""
    try:
        config = json.loads(content)
        ranks = [int(config["r"]), *(int(r) for r in (config.get("rank_pattern") or {}).values())]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Permanent(ARTIFACT_INVALID, f"adapter_config.json cannot be read: {error!r}") from error
    if config.get("peft_type", "LORA") != "LORA":
        raise Permanent(NOT_SERVABLE, f"peft_type is {config['peft_type']}; vLLM serves LORA only")
    if not all(0 < r <= max_rank for r in ranks):
        raise Permanent(NOT_SERVABLE, f"rank {max(ranks)} is not within 1 and this engine's maxLoraRank {max_rank}")
    if features := unsupported_features(config):
        raise Permanent(NOT_SERVABLE, f"vLLM cannot serve {', '.join(features)}; convert it to a plain LoRA")
    return dict(config)


def unsupported_features(config: Mapping[str, Any]) -> list[str]:
    """What vLLM's PEFTHelper.validate_legal refuses, by the name in adapter_config.json."""
    init = config.get("init_lora_weights", True)
    facts = {
        f"modules_to_save={config.get('modules_to_save')}": config.get("modules_to_save"),
        "use_dora": config.get("use_dora"),
        "lora_bias": config.get("lora_bias"),
        f"bias={config.get('bias')}": config.get("bias", "none") != "none",
        f"init_lora_weights={init}": isinstance(init, str) and init.lower() not in INITS_THAT_KEEP_THE_BASE,
        "alora_invocation_tokens": config.get("alora_invocation_tokens"),
        "layer_replication": config.get("layer_replication"),
        "use_bdlora": config.get("use_bdlora"),
        "use_qalora": config.get("use_qalora"),
    }
    return [name for name, found in facts.items() if found]


def read_shapes(start: bytes) -> dict[str, tuple[int, ...]]:
    """Names and shapes from the beginning of a safetensors file."""
    try:
        (length,) = struct.unpack("<Q", start[:8])
        header = json.loads(start[8 : 8 + length])
        return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Permanent(ARTIFACT_INVALID, f"the safetensors header cannot be read: {error!r}") from error


def check_tensors(adapter: Shapes, base: Shapes, config: Mapping[str, Any]) -> None:
    """Each module has both halves, of a declared rank, fitting the base's weight of the same name."""
    modules: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in adapter.items():
        if (match := TENSOR.match(name)) is None or len(shape) != 2:
            raise Permanent(NOT_SERVABLE, f"tensor '{name}' {shape} is no half of a LoRA pair")
        modules.setdefault(match["module"], {})[match["side"]] = shape
    if not modules:
        raise Permanent(ARTIFACT_INVALID, "the safetensors file holds no LoRA weights")
    ranks = {config["r"], *(config.get("rank_pattern") or {}).values()}
    for module, halves in modules.items():
        _check_pair(module, halves, base.get(f"{module}.weight"), ranks)


def _check_pair(
    module: str, halves: Mapping[str, tuple[int, ...]], weight: tuple[int, ...] | None, ranks: set[int]
) -> None:
    if len(halves) != 2:
        raise Permanent(ARTIFACT_INVALID, f"module '{module}' has only lora_{next(iter(halves))}")
    (rank, width_in), (width_out, rank_b) = halves["A"], halves["B"]
    if rank != rank_b or rank not in ranks:
        raise Permanent(
            ARTIFACT_INVALID, f"module '{module}' has ranks {rank} and {rank_b}, declared is {sorted(ranks)}"
        )
    if weight is None:
        raise Permanent(NOT_SERVABLE, f"module '{module}' is not in this base model")
    if weight != (width_out, width_in):
        raise Permanent(NOT_SERVABLE, f"module '{module}' is made for {width_out} x {width_in}, the base's is {weight}")
