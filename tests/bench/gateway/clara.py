"""Clara's gateway as it runs in a pod, fed with made-up objects: python clara.py ENGINE_PORT ADAPTERS DIRECTORY prints its port.

Production mode with an API key and an engine token, both below DIRECTORY; access log, metrics and probes are on.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from pathlib import Path

import uvloop
from clara_gateway.app import Gateway
from clara_gateway.knowledge import Knowledge
from clara_gateway.logs import log_json_lines
from clara_gateway.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[2]))
from unit.gateway.gateway_builders import deployment, engine, route

ASKED = "steuerrecht-1.0.0"
FAMILIES_PER_DEPLOYMENT = 50
API_KEY = "a-key-for-the-benchmark"


def knowledge_of(adapters: int, engine_port: str) -> Knowledge:
    """Families of one version each; every ServingDeployment has its share of them, verified on one engine."""
    names = [ASKED, *(f"verfahren-{number}-1.0.0" for number in range(1, adapters))]
    shares = [names[start : start + FAMILIES_PER_DEPLOYMENT] for start in range(0, adapters, FAMILIES_PER_DEPLOYMENT)]
    address = f"127.0.0.1:{engine_port}"
    knowledge = Knowledge()
    knowledge.learn(
        [deployment(*map(route, share), name=f"d{number}") for number, share in enumerate(shares)],
        [engine(f"e{n}", *share, deployment=f"d{n}", address=address) for n, share in enumerate(shares)],
    )
    return knowledge


def settings_in(directory: Path) -> Settings:
    keys = directory / "keys"
    keys.mkdir(parents=True)
    digest = hashlib.sha256(API_KEY.encode()).hexdigest()
    (keys / "bench").write_text(json.dumps({"sha256": digest, "namespace": "amt-a"}))
    token = directory / "token"
    token.write_text("t" * 900)  # about as long as a projected ServiceAccount token
    return Settings(host="127.0.0.1", port=0, metrics_port=0, keys_dir=keys, engine_token_file=token)


async def serve(engine_port: str, adapters: int, directory: Path) -> None:
    gateway = Gateway(settings_in(directory), knowledge_of(adapters, engine_port), watch_age=lambda: 0)
    await gateway.start()
    print(gateway.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    log_json_lines()
    uvloop.run(serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
