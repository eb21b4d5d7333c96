"""Rounds of a measurement as the table of docs/benchmarks.md, and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from gateway.contenders import Contender


@dataclass(frozen=True)
class Measured:
    """One round of one contender. `busy`: cores it used while requests came back to back; `latencies` are sorted seconds."""

    request_us: float
    chunk_us: float
    requests_per_second: float
    busy: float
    reads_per_stream: float
    latencies: list[float]
    resident_mib: float

    def latency_ms(self, share: float) -> float:
        return self.latencies[int(share * (len(self.latencies) - 1))] * 1000


SATURATED = 0.9  # cores that the slowest contender uses when nothing else runs on its core

Rounds = Mapping[str, Sequence[Measured]]


def markdown(contenders: Sequence[Contender], measured: Rounds) -> str:
    """The medians over the rounds; the first contender is the way without a proxy, the second what the others are
    compared with."""
    direct, compared = (measured[contender.name] for contender in contenders[:2])
    lines = [
        machine(),
        "",
        "| | CPU per request | to nginx | CPU per chunk | to nginx | p50 added | p99 added | one core carries | memory |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for contender in contenders:
        rounds = measured[contender.name]
        p50, p99 = (_latency(rounds, share) for share in (0.5, 0.99))
        if contender.pid is None:
            lines.append(f"| {contender.name} | | | | | ({p50:.2f} ms) | ({p99:.2f} ms) | | |")
            continue
        cells = (
            f"{contender.name} ({contender.version})",
            f"{_median(rounds, lambda m: m.request_us):.0f} µs",
            f"{_ratio(rounds, compared, lambda m: m.request_us):.1f}",
            f"{_median(rounds, lambda m: m.chunk_us):.1f} µs",
            f"{_ratio(rounds, compared, lambda m: m.chunk_us):.1f}",
            f"{p50 - _latency(direct, 0.5):.2f} ms",
            f"{p99 - _latency(direct, 0.99):.2f} ms",
            f"{1e6 / _median(rounds, lambda m: m.request_us):.0f}/s",
            f"{_median(rounds, lambda m: m.resident_mib):.0f} MiB",
        )
        lines.append(f"| {' | '.join(cells)} |")
    slowest = measured[contenders[-1].name]
    if (busy := _median(slowest, lambda m: m.busy)) < SATURATED:
        lines += [
            "",
            f"Other work took the measured core: the slowest got {busy:.0%} of it. Added latencies say little.",
        ]
    return "\n".join(lines)


def write_json(path: Path, contenders: Sequence[Contender], measured: Rounds) -> None:
    """Every round; latencies as the percentiles that are shown."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "contenders": {
            contender.name: {"version": contender.version, "rounds": [_values(one) for one in measured[contender.name]]}
            for contender in contenders
        },
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _values(one: Measured) -> dict[str, float]:
    values = {key: value for key, value in asdict(one).items() if key != "latencies"}
    return {**values, "p50_ms": one.latency_ms(0.5), "p99_ms": one.latency_ms(0.99)}


def _median(rounds: Sequence[Measured], value: Callable[[Measured], float]) -> float:
    return median(map(value, rounds))


def _ratio(rounds: Sequence[Measured], compared: Sequence[Measured], value: Callable[[Measured], float]) -> float:
    return _median(rounds, value) / _median(compared, value)


def _latency(rounds: Sequence[Measured], share: float) -> float:
    return _median(rounds, lambda m: m.latency_ms(share))


def machine() -> str:
    """The machine in words."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(": ")[2] if models else platform.machine()
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
