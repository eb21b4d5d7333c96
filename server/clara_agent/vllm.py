"""The only file that knows vLLM's HTTP endpoints (0.32). Used by `loop`, `work` and `probe`.

Replies are judged by outcome: after a load or unload the model list is read again, message texts are for people only; they
have changed between versions and broken others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from clara_agent.errors import LOAD_REFUSED, PROBE_FAILED, Temporary

HEALTH_SECONDS = 2.0
LIST_SECONDS = 5.0
LOAD_SECONDS = 120.0
PROBE_SECONDS = 60.0
METRICS = (
    "process_start_time_seconds",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:lora_requests_info",
)

Health = Literal["healthy", "silent", "gone"]  # silent: no answer in time; gone: nobody listens, or its engine is dead


class VllmUnavailable(Exception):
    """vLLM did not answer, or not in the expected form."""


@dataclass(frozen=True, slots=True)
class Models:
    """GET /v1/models. `adapters` is {name: path}."""

    base: str
    adapters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Scrape:
    """The part of GET /metrics that the agent lives on. `process` changes when the container restarts."""

    process: str | None
    unfinished: int
    active: frozenset[str]


class Vllm:
    """One engine. `token` is the pod-local token that opens every route of the guard."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}

    async def health(self) -> Health:
        """GET /health."""
        try:
            async with self._session.get(f"{self._url}/health", timeout=_seconds(HEALTH_SECONDS)) as reply:
                return "healthy" if reply.status == 200 else "gone"
        except aiohttp.ClientConnectorError:
            return "gone"
        except (TimeoutError, aiohttp.ClientError, OSError):
            return "silent"

    async def version(self) -> str | None:
        """GET /version."""
        version = (await self._json("GET", "/version", seconds=LIST_SECONDS)).get("version")
        return str(version) if version else None

    async def models(self) -> Models:
        """GET /v1/models: the base has no parent, an adapter's root is the path it was loaded from."""
        cards = (await self._json("GET", "/v1/models", seconds=LIST_SECONDS)).get("data") or []
        bases = [card["id"] for card in cards if not card.get("parent")]
        if not bases:
            raise VllmUnavailable("/v1/models lists no base model")
        return Models(bases[0], {card["id"]: str(card.get("root")) for card in cards if card.get("parent")})

    async def load(self, name: str, path: str) -> None:
        """Register an adapter; Temporary(LoadRefused) when it is not listed with that path afterwards."""
        words = await self._ask("/v1/load_lora_adapter", {"lora_name": name, "lora_path": path})
        if (await self.models()).adapters.get(name) != path:
            raise Temporary(LOAD_REFUSED, f"vLLM does not list '{name}' after loading it; it said: {words}")

    async def unload(self, name: str) -> None:
        """Take an adapter out; Temporary(LoadRefused) when it is still listed afterwards."""
        words = await self._ask("/v1/unload_lora_adapter", {"lora_name": name})
        if name in (await self.models()).adapters:
            raise Temporary(LOAD_REFUSED, f"vLLM still lists '{name}' after unloading it; it said: {words}")

    async def scrape(self) -> Scrape:
        """GET /metrics."""
        async with self._session.get(
            f"{self._url}/metrics", headers=self._headers, timeout=_seconds(LIST_SECONDS)
        ) as reply:
            return read_metrics(await reply.text())

    async def log_probability(self, model: str, context: Sequence[int], token: int) -> float:
        """The log-probability that `token` follows `context` (token ids), before temperature and masks.

        Asked by allowing nothing but that token. Not by `prompt_logprobs` or `echo`: with LoRA enabled, vLLM 0.32 on CPU
        dies of them as soon as two requests share a batch.
        """
        body = {
            "model": model,
            "prompt": list(context),
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 0,
            "allowed_token_ids": [token],
            "return_tokens_as_token_ids": True,
        }
        answer = await self._json("POST", "/v1/completions", body=body, seconds=PROBE_SECONDS)
        told = answer["choices"][0]["logprobs"]
        if told["tokens"] != [f"token_id:{token}"] or told["token_logprobs"][0] is None:
            raise Temporary(PROBE_FAILED, f"asked for token {token} after {len(context)}, vLLM told {told['tokens']}")
        return float(told["token_logprobs"][0])

    async def _ask(self, path: str, body: Mapping[str, Any]) -> str:
        async with self._session.post(
            f"{self._url}{path}", json=body, headers=self._headers, timeout=_seconds(LOAD_SECONDS)
        ) as reply:
            return f"{reply.status} {(await reply.text(errors='replace'))[:500]}"

    async def _json(
        self, method: str, path: str, *, seconds: float, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        async with self._session.request(
            method, f"{self._url}{path}", json=body, headers=self._headers, timeout=_seconds(seconds)
        ) as reply:
            if reply.status != 200:
                raise VllmUnavailable(f"{path} answered {reply.status} {(await reply.text(errors='replace'))[:300]}")
            return dict(await reply.json())


FAILURES = (aiohttp.ClientError, TimeoutError, OSError, VllmUnavailable, ValueError, LookupError, TypeError)
"""What a call may raise besides an AdapterError: no answer, or not one of the expected form."""


def read_metrics(text: str) -> Scrape:
    """Read the exposition format. Only the newest sample of vllm:lora_requests_info counts: older label sets stay listed,
    and its value is the time it was set. With nothing unfinished, nothing is active whatever it says."""
    lines = [line for line in text.splitlines() if line.startswith(METRICS)]
    process: str | None = None
    unfinished = 0.0
    newest, active = -1.0, frozenset[str]()
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            if sample.name == "process_start_time_seconds":
                process = f"{sample.value:.3f}"
            elif sample.name in ("vllm:num_requests_running", "vllm:num_requests_waiting"):
                unfinished += sample.value
            elif sample.name == "vllm:lora_requests_info" and sample.value > newest:
                newest, active = sample.value, _names(sample.labels)
    return Scrape(process, int(unfinished), active if unfinished else frozenset())


def _names(labels: Mapping[str, str]) -> frozenset[str]:
    both = f"{labels.get('running_lora_adapters', '')},{labels.get('waiting_lora_adapters', '')}"
    return frozenset(name for name in both.split(",") if name)


def _seconds(total: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=total)
