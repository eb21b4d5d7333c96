"""From approval to verified on warm engines, and the operator at rest: python tests/bench/lifecycle.py [--idle MINUTES]

Needs the cluster that `make demo` leaves behind. Times are those at which a watch showed each step, on one clock:

    approval written ─ decided ─ on every Engine's list ─ verified on every engine ─ Adapter Ready
    └──── operator ────────────────────────────────────┘└─ agents, vLLM ─────────┘└── operator ──┘

Printed is a Markdown table for docs/benchmarks.md; .cluster/bench/lifecycle.json keeps every number.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "hack"))
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "cluster"))

import clara_chain as chain
from artifacts import approve, bring, publish, read
from clara_install import ROOT, SYSTEM, environment, kubectl
from clara_operator.runtime.api import MERGE, Api
from clara_operator.runtime.connection import connect

NS, FAMILY = "recht", "messung"
ROUNDS, ADAPTERS, BATCH = 15, 100, 5
Object = chain.Object


@dataclass(slots=True)
class Watch:
    """One collection, watched by kubectl; every event with the time at which it came."""

    plural: str
    events: list[tuple[float, Object]] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[Watch]:
        """Until the end of the block."""
        path = f"/apis/clara.vcc.dev/v1alpha1/namespaces/{NS}/{self.plural}?watch=true"
        process = subprocess.Popen(["kubectl", "get", "--raw", path], stdout=subprocess.PIPE, env=environment())
        threading.Thread(target=self._read, args=(process,), daemon=True).start()
        try:
            yield self
        finally:
            process.kill()
            process.wait()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.events.append((time.monotonic(), json.loads(line)["object"]))

    def first(self, holds: Callable[[Object], bool]) -> dict[str, float]:
        """Per object, when it first was so."""
        found: dict[str, float] = {}
        for at, obj in list(self.events):
            if holds(obj):
                found.setdefault(obj["metadata"]["name"], at)
        return found


@dataclass(frozen=True, slots=True)
class Round:
    """One adapter from approval to service, in seconds."""

    decide_and_assign: float
    agents: float
    fetch: float
    load: float
    report: float
    total: float

    @property
    def operator(self) -> float:
        """The operator's own share."""
        return self.decide_and_assign + self.report


def one_round(number: int, base: chain.Base, engines: int) -> Round:
    """Approve one more version of the family and follow it."""
    name = f"{FAMILY}-1.0.{number}"
    files, manifest = read("steuerrecht-1.0.0", NS)
    bring(name, NS, publish(name, NS, files, manifest.model_copy(update={"family": FAMILY})), base)
    chain.wait_for_reason("adp", name, NS, "Ready", "NeedsReview", seconds=120)
    settle()
    with Watch("adapters").running() as adapters, Watch("engines").running() as seen:
        time.sleep(1)
        approve(name, NS)
        chain.wait_for("adp", name, NS, seconds=120)
        time.sleep(0.5)
    mine = f"{name}-"
    asked = adapters.first(lambda o: o["metadata"]["name"] == name and "approval" in o["spec"])[name]
    ready = adapters.first(
        lambda o: o["metadata"]["name"] == name and chain.condition(o, "Ready").get("status") == "True"
    )
    assigned = seen.first(lambda o: any(a["engineName"].startswith(mine) for a in o["spec"].get("adapters", [])))
    proven = seen.first(lambda o: any(h["state"] == "Verified" for h in held(o, mine)))
    assert len(assigned) == len(proven) == engines
    last = [h for _, o in seen.events for h in held(o, mine) if h["state"] == "Verified"]
    verified = max(proven.values())
    return Round(
        decide_and_assign=max(assigned.values()) - asked,
        agents=verified - max(assigned.values()),
        fetch=max(h.get("fetchSeconds", 0) for h in last),
        load=max(h.get("loadSeconds", 0) for h in last),
        report=ready[name] - verified,
        total=verified - asked,
    )


def held(engine: Object, prefix: str) -> list[Object]:
    """What an engine says of one version."""
    return [a for a in engine.get("status", {}).get("adapters", []) if a["engineName"].startswith(prefix)]


def settle() -> None:
    """Wait until the operator has written nothing for three seconds."""
    while True:
        before = writes()
        time.sleep(3)
        if writes() == before:
            return


def metrics() -> dict[str, float]:
    """The operator's metrics, by series."""
    path = f"/api/v1/namespaces/{SYSTEM}/services/clara-operator-metrics:9090/proxy/metrics"
    lines = kubectl("get", "--raw", path).splitlines()
    return {m[1]: float(m[2]) for line in lines if (m := re.match(r"([^#\s]\S*) (\S+)$", line))}


def writes() -> dict[str, float]:
    """Objects the operator has written, by kind and how."""
    return {name: value for name, value in metrics().items() if name.startswith("clara_writes_total")}


def memory() -> float:
    """The operator's resident memory in MB."""
    return metrics()["process_resident_memory_bytes"] / 1e6


def phase_writes(base: chain.Base) -> tuple[int, int]:
    """Status writes and changes of reason while one Adapter goes from creation to a decision."""
    name = f"{FAMILY}-0.1.0"
    files, manifest = read("steuerrecht-1.0.0", NS)
    artifact = publish(name, NS, files, manifest.model_copy(update={"family": FAMILY}))
    settle()
    before = writes()
    with Watch("adapters").running() as seen:
        time.sleep(1)
        bring(name, NS, artifact, base)
        chain.wait_for_reason("adp", name, NS, "Ready", "NeedsReview", seconds=120)
        settle()
    series = 'clara_writes_total{how="status",kind="Adapter"}'
    mine = [o for _, o in seen.events if o["metadata"]["name"] == name]
    changes, last = 0, ""
    for obj in mine:
        messages = [
            (c["type"], c["status"], c["reason"], c["message"]) for c in obj.get("status", {}).get("conditions", [])
        ]
        if messages and json.dumps(messages) != last:
            last = json.dumps(messages)
            changes += 1
    return int(writes()[series] - before.get(series, 0)), changes


def fill(base: chain.Base, count: int) -> None:
    """More Adapters that nobody serves."""
    files, manifest = read("steuerrecht-1.0.0", NS)
    artifact = publish("viele", NS, files, manifest.model_copy(update={"family": "viele"}))
    for start in range(0, count, BATCH):
        names = [f"viele-1.0.{i}" for i in range(start, start + BATCH)]
        for name in names:
            bring(name, NS, artifact, base)
        for name in names:
            chain.wait_for_reason("adp", name, NS, "Ready", "NeedsReview", seconds=300)
        print(f"  {start + BATCH} of {count} adapters, operator {memory():.0f} MB", flush=True)


async def write_seconds() -> float:
    """Median time of one small write to this API server: nobody who writes can be faster."""
    os.environ |= environment()
    api = Api(connect(), timeout=10)
    path, taken = f"/api/v1/namespaces/{NS}/configmaps", []
    body: Object = {"metadata": {"name": "bench-write"}}
    try:
        await api.request("POST", path, body=body)
        for number in range(50):
            begun = time.monotonic()
            change = {"data": {"number": str(number)}}
            await api.request("PATCH", f"{path}/bench-write", body=change, content_type=MERGE)
            taken.append(time.monotonic() - begun)
        await api.request("DELETE", f"{path}/bench-write")
    finally:
        await api.close()
    return statistics.median(taken)


def clean() -> None:
    """Take back what was made here."""
    names = [n.partition("/")[2] for n in kubectl("get", "adp", "-n", NS, "-o", "name").split()]
    mine = [n for n in names if n.startswith((f"{FAMILY}-", "viele-"))]
    if mine:
        kubectl("delete", "adp", "-n", NS, *mine, "--wait", "--timeout=300s")


def spread(values: list[float]) -> str:
    """p50 and p99 (of few values: the largest), in milliseconds."""
    return f"{statistics.median(values) * 1000:.0f} ms | {max(values) * 1000:.0f} ms"


def main() -> None:
    """Measure, print, put back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=float, default=10, help="minutes in which nothing happens")
    parser.add_argument("--adapters", type=int, default=ADAPTERS, help="more adapters, for the operator's memory")
    options = parser.parse_args()
    base = chain.make_base()
    families = ["steuerrecht", "baurecht"]
    clean()
    chain.apply(chain.serving_deployment("verwaltung", NS, [*families, FAMILY], base))
    engines = len(json.loads(kubectl("get", "engines.clara.vcc.dev", "-n", NS, "-o", "json"))["items"])
    try:
        rounds = []
        for number in range(ROUNDS):
            rounds.append(one_round(number, base, engines))
            print(f"  round {number + 1}: {rounds[-1]}", flush=True)
        floor = asyncio.run(write_seconds())
        written, changes = phase_writes(base)
        at_rest = memory()
        fill(base, options.adapters)
        full = memory()
        settle()
        before = metrics()
        print(f"  nothing happens for {options.idle:g} minutes", flush=True)
        time.sleep(options.idle * 60)
        after = metrics()
        idle = sum(v - before.get(n, 0) for n, v in after.items() if n.startswith("clara_writes_total"))
        cpu = after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
    finally:
        chain.apply(chain.serving_deployment("verwaltung", NS, families, base))
        clean()
    rows = [
        ("approved → verified on all engines, total", spread([r.total for r in rounds]), "≤ 1000 ms"),
        ("… operator: decide and assign", spread([r.decide_and_assign for r in rounds]), ""),
        ("… agents: fetch, check, load, prove", spread([r.agents for r in rounds]), ""),
        ("…… of this: download", spread([r.fetch for r in rounds]), ""),
        ("…… of this: vLLM load", spread([r.load for r in rounds]), ""),
        ("verified → Adapter Ready (operator)", spread([r.report for r in rounds]), ""),
        ("operator's share in all", spread([r.operator for r in rounds]), "≤ 25 ms, ≤ 100 ms"),
        ("floor: the three writes in a row it needs", f"{3 * floor * 1000:.0f} ms |", ""),
    ]
    print(f"\n{engines} engines, {ROUNDS} rounds\n\n| | median | worst | goal |\n|---|---|---|---|")
    for name, values, goal in rows:
        print(f"| {name} | {values} | {goal} |")
    print("\n| | measured | goal |\n|---|---|---|")
    print(f"| status writes from creation to decision | {written} for {changes} changes of what it says | 1 each |")
    print(f"| operator's writes in {options.idle:g} idle minutes, but the Lease | {idle:.0f} | 0 |")
    print(f"| operator's CPU in them | {cpu:.1f} s ({cpu / options.idle / 0.6:.2f} % of a core) | |")
    print(f"| operator's memory, few adapters | {at_rest:.0f} MB | |")
    print(f"| operator's memory, {options.adapters} more | {full:.0f} MB | < 110 MB |")
    target = ROOT / ".cluster/bench/lifecycle.json"
    target.parent.mkdir(exist_ok=True)
    numbers = [{f: getattr(r, f) for f in r.__slots__} for r in rounds]
    found = {
        "rounds": numbers,
        "writes": written,
        "changes": changes,
        "idleWrites": idle,
        "idleCpuSeconds": cpu,
        "writeSeconds": floor,
        "memory": at_rest,
        "memoryFull": full,
    }
    target.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
