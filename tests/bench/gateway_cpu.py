"""What the gateway costs beside nginx and vllm-router: python tests/bench/gateway_cpu.py [ROUNDS]

One run sends the same load through each of them in turn, in another order every round, to the same fake engine. Printed is
the table of docs/benchmarks.md; every measured value goes to .cluster/bench/gateway.json.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Awaitable
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))
from gateway.contenders import Contender, clara_gateway, fake_engine, nginx, vllm_router
from gateway.fake_engine import CHUNKS
from gateway.load import Seen, back_to_back, paced
from gateway.processes import cpu_seconds, end_all, leave_the_measured_core, resident_mib
from gateway.report import Measured, markdown, write_json

ROUNDS = 3
REQUESTS = 4000
STREAMS = 300
PACED_REQUESTS, PER_SECOND = 1000, 400
RESULTS = Path(__file__).parents[2] / ".cluster/bench/gateway.json"


async def measure(contender: Contender) -> Measured:
    """One round of one contender: whole answers, streams, and whole answers at a fixed rate."""
    await back_to_back(contender.question, REQUESTS // 20)
    whole, whole_cpu = await counted(contender, back_to_back(contender.question, REQUESTS))
    streams, stream_cpu = await counted(contender, back_to_back(contender.question, STREAMS, events=CHUNKS))
    steady = await paced(contender.question, PACED_REQUESTS, per_second=PER_SECOND)
    return Measured(
        request_us=whole_cpu / REQUESTS * 1e6,
        chunk_us=stream_cpu / STREAMS / CHUNKS * 1e6,
        requests_per_second=REQUESTS / whole.seconds,
        busy=whole_cpu / whole.seconds,
        reads_per_stream=streams.reads / STREAMS,
        latencies=sorted(steady.latencies),
        resident_mib=resident_mib(contender.pid) if contender.pid else 0,
    )


async def counted(contender: Contender, load: Awaitable[Seen]) -> tuple[Seen, float]:
    """A load, and the CPU seconds the contender used meanwhile."""
    before = cpu_seconds(contender.pid) if contender.pid else 0.0
    seen = await load
    return seen, (cpu_seconds(contender.pid) if contender.pid else 0.0) - before


async def main(rounds: int) -> None:
    leave_the_measured_core()
    with tempfile.TemporaryDirectory(prefix="clara-bench-") as directory:
        try:
            here = Path(directory)
            engine = fake_engine(here)
            port = engine.question.port
            contenders = [
                engine,
                nginx(here, port),
                vllm_router(here, port),
                clara_gateway(here, port, adapters=10),
                clara_gateway(here, port, adapters=1000),
            ]
            measured: dict[str, list[Measured]] = {contender.name: [] for contender in contenders}
            for number in range(rounds):
                first = number % len(contenders)
                for contender in (*contenders[first:], *contenders[:first]):
                    print(f"round {number + 1} of {rounds}: {contender.name}", file=sys.stderr)
                    measured[contender.name].append(await measure(contender))
        finally:
            end_all()
    write_json(RESULTS, contenders, measured)
    print(markdown(contenders, measured))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if sys.argv[1:] else ROUNDS))
