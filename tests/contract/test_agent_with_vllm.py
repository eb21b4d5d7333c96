"""The agent and the guard with a real vLLM: what they believe about it is true. One engine for all tests of this file.

The tests run in order and build on one another: the last ones freeze, kill and restart the engine.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from contract.agent_api_double import NAME, EngineApi
from contract.agent_artifacts import Workshop, base_digest, base_model, environment
from contract.agent_tokens import GATEWAY, ISSUER, Signer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "crds", ROOT / "server"]
READY_SECONDS = 240


def until(fact: Callable[[], Any], seconds: float = 20, why: Callable[[], Any] = lambda: "") -> float:
    """Wait for it; returns how long it took."""
    begun = time.monotonic()
    while not fact():
        assert time.monotonic() - begun < seconds, f"not within {seconds} s: {why()}"
        time.sleep(0.05)
    return time.monotonic() - begun


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Pod:
    """One engine pod as processes: vLLM with the guard, and the agent, over shared folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = base_model(folder)
        self.workshop = Workshop(self.base, folder / "volumes")
        self.signer = Signer()
        self.api = EngineApi(self.signer.jwks())
        self.port, self.agent_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        for name in ("guard", "adapters", "path"):
            (folder / name).mkdir()
        metadata = folder / "path" / "vllm-0.32.0+cpu.dist-info"  # what the CPU wheel forgets to bring
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n")
        self.wanted: list[dict[str, Any]] = []
        self.agent = self.start_agent()
        self.engine = self.start_engine()

    def start_agent(self) -> subprocess.Popen[bytes]:
        env = environment(
            SOURCES,
            CLARA_POD_NAME=NAME,
            CLARA_NAMESPACE="amt",
            CLARA_ENGINE_URL=self.url,
            CLARA_ENGINE_SECRET_DIR=str(self.folder / "guard"),
            CLARA_ADAPTER_DIR=str(self.folder / "adapters"),
            CLARA_BASE_DIR=str(self.base),
            CLARA_VOLUME_ROOT=str(self.folder / "volumes"),
            CLARA_KUBECONFIG=str(self.api.kubeconfig(self.folder)),
            CLARA_LISTEN_HOST="127.0.0.1",
            CLARA_LISTEN_PORT=str(self.agent_port),
        )
        log = (self.folder / "agent.log").open("ab")
        return subprocess.Popen([sys.executable, "-m", "clara_agent", "run"], env=env, stdout=log, stderr=log)

    def start_engine(self) -> subprocess.Popen[bytes]:
        env = environment(
            [self.folder / "path", *SOURCES],
            VLLM_CPU_KVCACHE_SPACE="1",
            VLLM_ALLOW_RUNTIME_LORA_UPDATING="True",
            VLLM_NO_USAGE_STATS="1",
            TORCHDYNAMO_DISABLE="1",  # else the first request for log-probabilities compiles C++, if there is a compiler
            HF_HUB_OFFLINE="1",
            CLARA_ENGINE_SECRET_DIR=str(self.folder / "guard"),
            CLARA_TOKEN_ISSUER=ISSUER,
            CLARA_GATEWAY_IDENTITY=GATEWAY,
        )
        flags = "--dtype float32 --enforce-eager --enable-lora --max-loras 2 --max-cpu-loras 4 --max-lora-rank 16"
        flags += " --max-model-len 1024 --middleware clara_agent.engine_guard.Guard --shutdown-timeout 20"
        vllm = Path(sys.executable).with_name("vllm")
        command = [str(vllm), "serve", str(self.base), "--served-model-name", "tiny-de", "--host", "127.0.0.1"]
        log = (self.folder / "vllm.log").open("ab")
        return subprocess.Popen(
            [*command, "--port", str(self.port), *flags.split()],
            env=env,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def ask_for(self, *adapters: dict[str, Any]) -> None:
        """Write the Engine's spec."""
        base = {"name": "tiny-de", "uri": "volume://store/base", "digest": base_digest(self.base)}
        limits = {"maxLoraRank": 16, "maxCpuLoras": 4, "drainSeconds": 20}
        self.wanted = list(adapters)
        self.api.put({"servingDeploymentRef": {"name": "v"}, "baseModel": base, "adapters": self.wanted, **limits})

    def state(self, adapter: dict[str, Any]) -> str | None:
        return self.api.adapter(adapter["engineName"]).get("state")

    def until_state(self, adapter: dict[str, Any], state: str | None, seconds: float = 60) -> dict[str, Any]:
        name = adapter["engineName"]
        until(lambda: self.state(adapter) == state, seconds, lambda: f"{self.api.status}\n{self.tail()}")
        return self.api.adapter(name)

    def until_healthy(self) -> None:
        until(lambda: self.api.status.get("healthy"), READY_SECONDS, self.tail)

    def local(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.folder / 'guard' / 'local-token').read_text()}"}

    def gateway(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.signer.token()}"}

    def models(self) -> set[str]:
        return {m["id"] for m in httpx.get(f"{self.url}/v1/models", headers=self.gateway()).json()["data"]}

    def ready(self) -> int:
        return httpx.get(f"http://127.0.0.1:{self.agent_port}/readyz").status_code

    def signal_engine(self, number: int) -> None:
        os.killpg(self.engine.pid, number)

    def tail(self) -> str:
        logs = [(self.folder / name).read_text()[-3000:] for name in ("agent.log", "vllm.log")]
        return "\n".join(logs)

    def end(self) -> None:
        for process in (self.engine, self.agent):
            if process.poll() is None:
                process.kill()
        with suppress(ProcessLookupError):
            os.killpg(self.engine.pid, signal.SIGKILL)
        self.engine.wait()
        self.agent.wait()
        self.api.stop()


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    it = Pod(tmp_path_factory.mktemp("pod"))
    try:
        yield it
    finally:
        it.end()


@pytest.fixture(scope="module")
def good(pod: Pod) -> dict[str, Any]:
    return pod.workshop.adapter("steuerrecht", seed=1)


def test_an_adapter_is_loaded_and_proven_by_its_fingerprint(pod: Pod, good: dict[str, Any]):
    pod.ask_for(good)
    until(lambda: pod.api.adapter(good["engineName"]), 20, pod.tail)
    assert pod.ready() == 503
    pod.until_healthy()
    held = pod.until_state(good, "Verified")
    assert held["cosine"] > 0.99
    assert held["normRatio"] > 10
    assert held["digest"] == good["digest"]
    assert pod.ready() == 200
    assert pod.models() == {"tiny-de", good["engineName"]}
    assert pod.api.status["engineVersion"].startswith("0.32")


def test_the_gateways_token_opens_only_what_the_gateway_needs(pod: Pod, good: dict[str, Any]):
    """Every route of this vLLM's own OpenAPI document, and those it does not list."""
    document = httpx.get(f"{pod.url}/openapi.json", headers=pod.local()).json()
    routes = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert len(routes) > 15
    routes |= {("GET", p) for p in ("/docs", "/openapi.json", "/redoc", "/metrics/", "/v1/models/", "/")}
    routes |= {("POST", p) for p in ("/invocations", "/adapters", "/v1//completions", "/V1/completions", "/metrics")}
    allowed = {
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
    }
    assert allowed - {("GET", "/metrics")} <= routes
    with httpx.Client(base_url=pod.url) as client:
        for method, path in sorted(routes - allowed - {("GET", "/health")}):
            url = re.sub(r"\{[^}]*\}", "x", path)
            assert client.request(method, url).status_code == 401, (method, path)
            assert client.request(method, url, headers=pod.gateway()).status_code == 404, (method, path)
        for method, path in allowed:
            assert client.request(method, path).status_code == 401, (method, path)
        assert client.get("/health").status_code == 200
        assert client.get("/metrics", headers=pod.gateway()).status_code == 200
        body = {"model": good["engineName"], "prompt": "Die Behörde", "max_tokens": 3}
        assert client.post("/v1/completions", json=body, headers=pod.gateway()).status_code == 200


def test_adapters_that_cannot_be_proven_fail_and_the_good_one_keeps_answering(pod: Pod, good: dict[str, Any]):
    idle = pod.workshop.adapter("wirkungslos", seed=2, changes=False, recorded=pod.workshop.fingerprint("steuerrecht"))
    other = pod.workshop.adapter("verwechselt", seed=3, recorded=pod.workshop.fingerprint("steuerrecht"))
    foreign = pod.workshop.adapter("fremd", seed=4, base="sha256:" + "0" * 64)
    pod.ask_for(good, idle, other, foreign)
    assert pod.until_state(idle, "Failed")["reason"] == "NoEffect"
    assert pod.until_state(other, "Failed")["reason"] == "WrongFingerprint"
    assert pod.until_state(foreign, "Failed")["reason"] == "BaseMismatch"
    until(lambda: pod.models() == {"tiny-de", good["engineName"]}, 20, pod.tail)
    assert pod.state(good) == "Verified"
    assert pod.ready() == 200


def test_nothing_is_written_while_nothing_changes(pod: Pod):
    time.sleep(2)
    before = len(pod.api.writes)
    time.sleep(4)
    assert len(pod.api.writes) == before, pod.api.writes[before - 1 :]


def test_a_retired_adapter_stays_until_its_stream_has_ended_and_then_its_files_go(pod: Pod, good: dict[str, Any]):
    second = pod.workshop.adapter("baurecht", seed=5)
    pod.ask_for(good, second)
    pod.until_state(second, "Verified")
    body = {"model": second["engineName"], "prompt": "Der", "max_tokens": 900, "stream": True, "ignore_eos": True}
    with httpx.stream("POST", f"{pod.url}/v1/completions", json=body, headers=pod.gateway(), timeout=60) as stream:
        lines = stream.iter_lines()
        next(lines)
        pod.ask_for(good, second | {"state": "retire"})
        pod.until_state(second, "Draining")
        last = ""
        for line in lines:
            last = line or last
            if "DONE" not in line:
                assert (pod.folder / "adapters" / second["engineName"]).is_dir()
    assert last == "data: [DONE]"
    pod.until_state(second, None)
    assert second["engineName"] not in pod.models()
    assert not (pod.folder / "adapters" / second["engineName"]).exists()
    assert pod.state(good) == "Verified"


def test_the_hook_returns_when_nothing_runs_and_draining_is_published(pod: Pod):
    env = environment(SOURCES, CLARA_ENGINE_SECRET_DIR=str(pod.folder / "guard"), CLARA_DRAIN_SECONDS="20")
    body = {"model": "tiny-de", "prompt": "Der", "max_tokens": 600, "stream": True, "ignore_eos": True}
    with httpx.stream("POST", f"{pod.url}/v1/completions", json=body, headers=pod.gateway(), timeout=60) as stream:
        lines = stream.iter_lines()
        next(lines)
        hook = subprocess.Popen([sys.executable, "-m", "clara_agent", "drain"], env=env)
        until(lambda: pod.api.status["draining"], 10, pod.tail)
        assert hook.poll() is None
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert hook.wait(15) == 0


def test_a_restarted_agent_takes_back_what_is_there_and_proves_it_again(pod: Pod, good: dict[str, Any]):
    pod.agent.kill()
    pod.agent.wait()
    before = len(pod.api.writes)
    pod.agent = pod.start_agent()
    until(lambda: len(pod.api.writes) > before, 20, pod.tail)
    pod.until_state(good, "Verified")
    assert "fetchSeconds" not in pod.api.adapter(good["engineName"])
    assert not pod.api.status.get("draining")


def test_a_frozen_engine_is_unhealthy_and_comes_back_with_its_verdicts(pod: Pod, good: dict[str, Any]):
    pod.signal_engine(signal.SIGSTOP)
    try:
        until(lambda: not pod.api.status["healthy"], 8, pod.tail)
    finally:
        pod.signal_engine(signal.SIGCONT)
    until(lambda: pod.api.status["healthy"], 10, pod.tail)
    assert pod.state(good) == "Verified"


def test_a_killed_engine_loses_every_verdict_at_once_and_has_them_again_soon_after_it_is_healthy(
    pod: Pod, good: dict[str, Any]
):
    identity = pod.api.status["process"]
    pod.signal_engine(signal.SIGKILL)
    pod.engine.wait()
    assert until(lambda: not pod.api.status["healthy"], 5, pod.tail) < 2.5
    assert pod.state(good) == "Pending"
    assert pod.ready() == 503
    pod.engine = pod.start_engine()
    pod.until_healthy()
    begun = time.monotonic()
    pod.until_state(good, "Verified")
    assert time.monotonic() - begun < 10
    assert pod.api.status["process"] != identity


def test_an_agent_told_to_end_says_draining_and_stays_until_its_engine_is_gone(pod: Pod):
    pod.agent.send_signal(signal.SIGTERM)
    until(lambda: pod.api.status["draining"], 10, pod.tail)
    time.sleep(2)
    assert pod.agent.poll() is None
    pod.signal_engine(signal.SIGKILL)
    assert pod.agent.wait(10) == 0
