"""vLLM's command line, and which further flags a person may add. Pure.

Reserved flags are refused by name with the field to use instead; anything not on the allow-list is refused too.
"""

from __future__ import annotations

from clara_api.serving_deployment import ServingDeploymentSpec

from clara_operator.settings import Settings

BASE_DIR = "/clara/base"
ALLOWED = frozenset(
    {
        "--gpu-memory-utilization", "--max-num-seqs", "--max-num-batched-tokens", "--enable-prefix-caching",
        "--no-enable-prefix-caching", "--enable-chunked-prefill", "--tensor-parallel-size", "--pipeline-parallel-size",
        "--kv-cache-dtype", "--quantization", "--block-size", "--swap-space", "--seed", "--enforce-eager",
        "--fully-sharded-loras", "--max-log-len", "--tool-call-parser", "--enable-auto-tool-choice", "--reasoning-parser",
    }
)  # fmt: skip
RESERVED = {
    "--model": "spec.baseModel",
    "--served-model-name": "spec.baseModel.name",
    "--dtype": "spec.engine.dtype",
    "--max-loras": "spec.engine.maxLoras",
    "--max-cpu-loras": "spec.engine.maxCpuLoras",
    "--max-lora-rank": "spec.engine.maxLoraRank",
    "--max-model-len": "spec.engine.maxModelLength",
    "--shutdown-timeout": "spec.engine.drainSeconds",
    "--lora-modules": "spec.families",
}


def refused_argument(spec: ServingDeploymentSpec) -> str | None:
    """Why extraArgs cannot be used, or None."""
    for argument in spec.engine.extra_args:
        flag = argument.split("=", 1)[0]
        if not flag.startswith("--"):
            continue
        if flag in RESERVED:
            return f"engine.extraArgs: '{flag}' is reserved; set {RESERVED[flag]} instead"
        if flag not in ALLOWED:
            return f"engine.extraArgs: '{flag}' is not on the allow-list ({', '.join(sorted(ALLOWED))})"
    return None


def engine_arguments(spec: ServingDeploymentSpec, settings: Settings) -> list[str]:
    """Arguments of `vllm serve`."""
    engine = spec.engine
    dtype = "float32" if settings.cpu_engines and engine.dtype == "auto" else engine.dtype
    arguments = [
        "serve",
        BASE_DIR,
        f"--served-model-name={spec.base_model.name}",
        "--host=0.0.0.0",
        f"--port={settings.engine_port}",
        f"--dtype={dtype}",
        "--enable-lora",
        f"--max-loras={engine.max_loras}",
        f"--max-cpu-loras={engine.max_cpu_loras}",
        f"--max-lora-rank={engine.max_lora_rank}",
        f"--max-model-len={engine.max_model_length}",
        "--middleware=clara_agent.engine_guard.Guard",
        f"--shutdown-timeout={engine.drain_seconds}",
        "--disable-access-log-for-endpoints=/health,/metrics,/v1/models",
    ]
    if settings.cpu_engines:
        arguments.append("--enforce-eager")
    return [*arguments, *engine.extra_args]
