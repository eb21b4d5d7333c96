"""Who is measured, and how each is set up: one worker thread, one upstream, keep-alive on both sides.

nginx and Clara write an access log to a file; vllm-router has none at its default log level.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from gateway import clara
from gateway.load import Question
from gateway.processes import printed_port, started
from unit.gateway.gateway_builders import engine_name

VLLM_ROUTER = "0.1.17"
CACHE = Path(
    os.environ.get("CLARA_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "clara"
)
HERE = Path(__file__).parent
SERVED_NAME = engine_name(clara.ASKED)


@dataclass(frozen=True)
class Contender:
    """One way to the engine. `pid`: whose CPU counts; None for the way without a proxy."""

    name: str
    version: str
    question: Question
    pid: int | None


def fake_engine(directory: Path) -> Contender:
    """The engine itself: what the client sees without any proxy."""
    log = directory / "engine.log"
    started((sys.executable, str(HERE / "fake_engine.py"), SERVED_NAME), log, measured=False)
    return Contender("no proxy", "", _as_the_engine_says(printed_port(log)), None)


def nginx(directory: Path, engine_port: str) -> Contender:
    """A plain reverse proxy that knows neither models nor keys. Started beside any nginx the machine runs."""
    binary, port, own = nginx_binary(), free_port(), directory / "nginx"
    own.mkdir()
    config = own / "nginx.conf"
    config.write_text(NGINX_CONFIG % {"user": pwd.getpwuid(os.getuid()).pw_name, "port": port, "engine": engine_port})
    command = (str(binary), "-p", str(own), "-c", str(config), "-e", str(own / "error.log"))
    pid = started(command, own / "output.log", measured=True)
    wait_until_open(port, own / "error.log")
    said = subprocess.run((str(binary), "-v"), capture_output=True, text=True, check=True).stderr
    return Contender("nginx", said.strip().rpartition("/")[2], _as_the_engine_says(port), pid)


NGINX_CONFIG = """\
daemon off;
user %(user)s;
worker_processes 1;
pid nginx.pid;
events { worker_connections 1024; }
http {
  access_log access.log;
  keepalive_requests 1000000;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  upstream engine {
    server 127.0.0.1:%(engine)s;
    keepalive 64;
    keepalive_requests 1000000;
  }
  server {
    listen 127.0.0.1:%(port)s;
    location / {
      proxy_pass http://engine;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }
  }
}
"""


def nginx_binary() -> Path:
    """The machine's nginx, or Debian's package unpacked below the cache: installing it would start a service on port 80."""
    if found := shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return Path(found)
    unpacked = CACHE / "bench-nginx"
    binary = unpacked / "usr/sbin/nginx"
    if not binary.exists():
        unpacked.mkdir(parents=True, exist_ok=True)
        try:
            run(("apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", "nginx"), cwd=unpacked)
            (package,) = unpacked.glob("nginx_*.deb")
            run(("dpkg-deb", "--extract", str(package), str(unpacked)), cwd=unpacked)
            package.unlink()
            run((str(binary), "-v"), cwd=unpacked, quiet=True)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            shutil.rmtree(unpacked)
            raise SystemExit(
                f"no nginx here and its package could not be unpacked ({error}): install nginx, or run 'apt-get update'"
            ) from error
    return binary


def vllm_router(directory: Path, engine_port: str) -> Contender:
    """vLLM's own router, in a Python environment of its own; one Tokio thread, like one nginx worker."""
    port, log = free_port(), directory / "vllm-router.log"
    command = (
        *(str(vllm_router_binary()), "--host", "127.0.0.1", "--port", port),
        *("--worker-urls", f"http://127.0.0.1:{engine_port}", "--policy", "round_robin", "--disable-retries"),
        *("--prometheus-port", free_port(), "--worker-startup-check-interval", "1"),
    )
    pid = started(command, log, measured=True, variables={"TOKIO_WORKER_THREADS": "1"})
    wait_until_open(port, log, path="/v1/models")
    return Contender("vllm-router", VLLM_ROUTER, _as_the_engine_says(port), pid)


def vllm_router_binary() -> Path:
    """Installed once per version below the cache."""
    environment = CACHE / f"bench-vllm-router-{VLLM_ROUTER}"
    ready = environment / ".ready"
    if not ready.exists():
        run((sys.executable, "-m", "venv", "--clear", str(environment)), cwd=HERE)
        run((str(environment / "bin/pip"), "install", "--quiet", f"vllm-router=={VLLM_ROUTER}"), cwd=HERE)
        ready.touch()
    return environment / "bin/vllm-router"


def clara_gateway(directory: Path, engine_port: str, *, adapters: int) -> Contender:
    """Clara's gateway with all its features; the client asks for the public name and must never see the engine's."""
    own = directory / f"clara-{adapters}"
    own.mkdir()
    log = own / "output.log"
    pid = started((sys.executable, str(HERE / "clara.py"), engine_port, str(adapters), str(own)), log, measured=True)
    question = Question(
        printed_port(log), clara.ASKED, clara.API_KEY, wanted=clara.ASKED.encode(), forbidden=SERVED_NAME.encode()
    )
    return Contender(f"Clara, {adapters} adapters", f"aiohttp {version('aiohttp')}", question, pid)


def _as_the_engine_says(port: str) -> Question:
    return Question(port, SERVED_NAME, clara.API_KEY, wanted=SERVED_NAME.encode())


def run(command: tuple[str, ...], cwd: Path, *, quiet: bool = False) -> None:
    subprocess.run(
        command, cwd=cwd, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL if quiet else None
    )


def free_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


def wait_until_open(port: str, log: Path, path: str = "/") -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise SystemExit(f"nothing answers on port {port}: {log.read_text()[-2000:]}")
