"""CPU the gateway spends per request and per streamed chunk: python tests/bench/gateway_cpu.py [REQUESTS]

Three processes on 127.0.0.1: a fake engine (one uvloop protocol that answers with fixed bytes), the gateway with all its
features on, and this one as the client with 32 connections. Printed is the gateway's own CPU time from /proc, so a busy
machine changes little.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import uvloop
from clara_gateway.app import Gateway
from clara_gateway.knowledge import Knowledge
from clara_gateway.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[1]))
from unit.gateway.gateway_builders import deployment, engine, engine_name, route

PUBLIC = "steuerrecht-1.0.0"
CONNECTIONS = 32
CHUNKS = 64
CONTENT = "x" * 400
PROMPT = [{"role": "user", "content": "y" * 900}]


class Engine(asyncio.Protocol):
    """Answers every POST with about 0.5 kB, or with CHUNKS events when the body asks for a stream."""

    whole: bytes
    streamed: bytes

    def __init__(self) -> None:
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, found, body = self._seen.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0) if found else 1
        if len(body) < length:
            return
        self._seen = b""
        if b'"stream": true' not in body:
            self._transport.write(self.whole)
            return
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self._send(CHUNKS)

    def _send(self, left: int) -> None:
        self._transport.write(self.streamed if left else b"0\r\n\r\n")
        if left:
            asyncio.get_running_loop().call_later(0.002, self._send, left - 1)


async def run_engine() -> None:
    model = engine_name(PUBLIC)
    whole = json.dumps({"model": model, "choices": [{"message": {"content": CONTENT}}]}, separators=(",", ":")).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(whole)}\r\n\r\n"
    Engine.whole = head.encode() + whole
    event = {"id": "1", "model": model, "choices": [{"delta": {"content": "ein "}}]}
    line = b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"
    Engine.streamed = f"{len(line):x}\r\n".encode() + line + b"\r\n"
    server = await asyncio.get_running_loop().create_server(Engine, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def run_gateway(engine_port: str) -> None:
    logging.getLogger("clara_gateway.access").addHandler(logging.FileHandler(os.devnull))
    logging.getLogger("clara_gateway.access").setLevel(logging.INFO)
    knowledge = Knowledge()
    knowledge.learn([deployment(route(PUBLIC))], [engine("e0", PUBLIC, address=f"127.0.0.1:{engine_port}")])
    settings = Settings(
        security_mode="development", host="127.0.0.1", port=0, metrics_port=0, default_namespace="amt-a"
    )
    gateway = Gateway(settings, knowledge, watch_age=lambda: 0)
    await gateway.start()
    print(gateway.port, flush=True)
    await asyncio.Event().wait()


def started(*arguments: str) -> tuple[subprocess.Popen[bytes], str]:
    process = subprocess.Popen((sys.executable, __file__, *arguments), stdout=subprocess.PIPE)
    assert process.stdout
    return process, process.stdout.readline().decode().strip()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


async def load(port: str, requests: int, *, stream: bool) -> None:
    left = iter(range(requests))
    body = json.dumps({"model": "steuerrecht", "messages": PROMPT, "stream": stream}).encode()

    async def client(session: aiohttp.ClientSession) -> None:
        for _ in left:
            async with session.post("/v1/chat/completions", data=body) as answer:
                content = await answer.read()
                assert answer.status == 200, content
                assert engine_name(PUBLIC).encode() not in content

    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        await asyncio.gather(*(client(session) for _ in range(CONNECTIONS)))


async def measure(gateway: subprocess.Popen[bytes], port: str, requests: int, *, stream: bool) -> tuple[float, float]:
    """CPU µs and requests per second, after a warm-up."""
    await load(port, max(requests // 10, CONNECTIONS), stream=stream)
    cpu, wall = cpu_seconds(gateway.pid), time.perf_counter()
    await load(port, requests, stream=stream)
    return (cpu_seconds(gateway.pid) - cpu) / requests * 1e6, requests / (time.perf_counter() - wall)


async def main(requests: int) -> None:
    engine_process, engine_port = started("engine")
    gateway, port = started("gateway", engine_port)
    try:
        cpu, rate = await measure(gateway, port, requests, stream=False)
        print(f"whole answers:    {cpu:7.0f} µs CPU per request    ({rate:.0f} requests/s seen)")
        cpu, _ = await measure(gateway, port, requests // 10, stream=True)
        print(f"streamed answers: {cpu:7.0f} µs CPU per request with {CHUNKS} chunks, {cpu / CHUNKS:.1f} µs per chunk")
        print(f"memory:           {resident_mib(gateway.pid):7.0f} MiB")
    finally:
        gateway.kill()
        engine_process.kill()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["engine"]:
            uvloop.run(run_engine())
        case ["gateway", engine_port]:
            uvloop.run(run_gateway(engine_port))
        case [count]:
            uvloop.run(main(int(count)))
        case _:
            uvloop.run(main(5000))
