"""Would an engine take this adapter? The table of what vLLM 0.32 refuses, answered before any engine is asked. Pure.

Called by verify.py. The source of the table is vLLM's `PEFTHelper.validate_legal`; a contract test holds both side by side.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Inits that only choose the first values of A and B; all other named inits change the base's weights when peft loads them.
HARMLESS_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
UNSUPPORTED_FEATURES = {
    "use_dora": "it is a DoRA adapter; merge it into a base, or train with method lora",
    "modules_to_save": "it replaces whole modules (modules_to_save)",
    "lora_bias": "it has a LoRA bias (lora_bias)",
    "alora_invocation_tokens": "it is an activated LoRA (aLoRA)",
    "layer_replication": "it replicates layers (layer_replication)",
    "use_bdlora": "it is block-diagonal (BD-LoRA)",
    "use_qalora": "it is a QA-LoRA adapter",
}
TENSOR = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<half>[AB])\.weight$")

Shapes = Mapping[str, tuple[int, ...]]


def config_problem(config: Mapping[str, Any], *, max_lora_rank: int) -> str | None:
    """Why engines would refuse adapter_config.json; None when they would not."""
    if config.get("peft_type") != "LORA":
        return f"its peft_type is {config.get('peft_type')!r}; engines load LORA only"
    for feature, sentence in UNSUPPORTED_FEATURES.items():
        if config.get(feature):
            return sentence
    if config.get("bias", "none") != "none":
        return f"it changes biases (bias: {config['bias']})"
    init = config.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in HARMLESS_INITS:
        return f"its init {init!r} changes the base's weights; convert it to a plain LoRA with peft"
    ranks = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    if not all(isinstance(rank, int) and rank > 0 for rank in ranks):
        return f"its ranks {ranks} are no positive numbers"
    if max(ranks) > max_lora_rank:
        return f"its rank is {max(ranks)}, and the engines take at most {max_lora_rank} (engine.maxLoraRank)"
    return None


def rank_of(module: str, config: Mapping[str, Any]) -> int:
    """The rank of one module: `rank_pattern` by peft's rule (suffix at a dot, first match wins), else `r`."""
    for pattern, rank in (config.get("rank_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return int(rank)
    return int(config["r"])


def tensor_problem(shapes: Shapes, config: Mapping[str, Any]) -> str | None:
    """What does not agree between tensor names, shapes and the configured rank; None when all does."""
    if not shapes:
        return "holds no tensors"
    for name, shape in shapes.items():
        if (match := TENSOR.match(name)) is None:
            return f"holds the tensor '{name}', which belongs to no LoRA pair"
        module, half = match["module"], match["half"]
        partner = f"base_model.model.{module}.lora_{'B' if half == 'A' else 'A'}.weight"
        if partner not in shapes:
            return f"holds '{name}' without '{partner}'"
        if not _is_target(module, config.get("target_modules")):
            return f"changes '{module}', which target_modules does not name"
        rank = rank_of(module, config)
        if len(shape) != 2 or shape[0 if half == "A" else 1] != rank:
            return f"holds '{name}' with the shape {list(shape)}; its rank is {rank}"
    return None


def fit_problem(shapes: Shapes, base: Shapes) -> str | None:
    """Which module of the adapter the base does not have, or has in another size; None when all fit."""
    for name, shape in shapes.items():
        match = TENSOR.match(name)
        if match is None or match["half"] != "A":
            continue
        module = match["module"]
        weight = base.get(f"{module}.weight")
        if weight is None:
            return f"changes '{module}', which the base model does not have"
        out = shapes[f"base_model.model.{module}.lora_B.weight"][0]
        if (out, shape[1]) != weight:
            return f"changes '{module}' as {out} x {shape[1]}; the base model has {' x '.join(map(str, weight))}"
    return None


def _is_target(module: str, targets: Any) -> bool:
    if isinstance(targets, str):  # peft: a regular expression over the whole name, or the word all-linear
        return targets == "all-linear" or re.fullmatch(targets, module) is not None
    return any(module == target or module.endswith(f".{target}") for target in targets or ())
