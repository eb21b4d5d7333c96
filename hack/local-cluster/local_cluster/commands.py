"""The command line: what `make cluster-up`, `make cluster-down` and the tests call.

up                bring the cluster up, or repair it     down [--purge]   stop it and leave nothing; delete its data
status            what runs                              doctor           what is missing, with cures
build             only build the programs                env              shell lines: eval "$(… env)"
kubeconfig        path of the administrator's            kubectl …        the cluster's own kubectl
user NAME [--group G …]   client certificate of a test person; prints its kubeconfig's path
volume NAMESPACE          volume and claim `clara-artifacts` for a namespace
stop-apiserver, start-apiserver, restart-apiserver   for fault tests; stop is a SIGKILL
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import addons, certificates, prerequisites, stores
from .cluster import START_ORDER, build_steps, clear_the_machine, make_process, package_steps, start_steps
from .machine import only_one, read_marker
from .processes import Processes
from .settings import Settings, read_settings
from .shell import attempt
from .steps import Problem, run_steps
from .teardown import purge, teardown_steps

SOURCE = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str]) -> int:
    settings = read_settings(os.environ, SOURCE)
    if arguments and arguments[0] == "kubectl":  # before argparse: the flags are kubectl's
        return kubectl(settings, arguments[1:])
    options = parser().parse_args(arguments)
    try:
        command: Callable[[Settings, argparse.Namespace], int] = COMMANDS[options.command]
        return command(settings, options)
    except Problem as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; run it again to go on from here", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="local-cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        command = commands.add_parser(name)
        if name == "down":
            command.add_argument("--purge", action="store_true", help="delete .cluster too; caches stay")
        if name == "user":
            command.add_argument("name")
            command.add_argument("--group", action="append", default=[])
        if name == "volume":
            command.add_argument("namespace")
    return top


def up(settings: Settings, _: argparse.Namespace) -> int:
    began = time.monotonic()
    if os.environ.get("CLARA_CLUSTER") == "existing":
        return use_existing()
    prerequisites.require_root_and_linux()
    with only_one():
        clear_the_machine(settings)
        run_steps(package_steps())
        run_steps(build_steps(settings))
        run_steps(start_steps(settings))
    print(f'cluster is up after {time.monotonic() - began:.1f} s; next: eval "$(python3 hack/local-cluster env)"')
    return 0


def use_existing() -> int:
    """A cluster of the user's own: nothing to start, but it must answer, and images need a way in."""
    for name in ("KUBECONFIG", "CLARA_REGISTRY"):
        if not os.environ.get(name):
            raise Problem(f"CLARA_CLUSTER=existing, but {name} is not set", f"export {name}=…")
    if not shutil.which("kubectl") or not attempt("kubectl", "get", "--raw", "/readyz"):
        raise Problem("the cluster of KUBECONFIG does not answer `kubectl get --raw /readyz`", "see what kubectl says")
    print(f"using the cluster of {os.environ['KUBECONFIG']}")
    return 0


def build(settings: Settings, _: argparse.Namespace) -> int:
    prerequisites.require_root_and_linux()
    with only_one():
        run_steps(package_steps())
        run_steps(build_steps(settings))
    return 0


def down(settings: Settings, options: argparse.Namespace) -> int:
    prerequisites.require_root_and_linux()
    with only_one():
        marker = read_marker(settings.run)
        if marker and marker.state == str(settings.state):
            run_steps(teardown_steps(settings, marker))
        else:
            print("no cluster of this checkout is up" + (f" (but one of {marker.checkout})" if marker else ""))
        if options.purge:
            purge(settings)
    return 0


def status(settings: Settings, _: argparse.Namespace) -> int:
    marker = read_marker(settings.run)
    if marker is None or marker.state != str(settings.state):
        print("down" + (f"; the cluster of {marker.checkout} is up" if marker else ""))
        return 1
    processes = Processes(settings.run, settings.logs)
    all_well = True
    for name in START_ORDER:
        record = processes.record(name)
        alive = bool(record and record.alive())
        well = alive and make_process(settings, name).healthy()
        all_well = all_well and well
        state = "healthy" if well else "not healthy" if alive else "dead"
        print(f"  {name:<24} {state:<12} {f'pid {record.pid}' if record and alive else ''}")
    if all_well:
        print(addons.kubectl(settings, "get", "nodes,pods", "-A", "-o", "wide"), end="")
    return 0 if all_well else 1


def doctor(settings: Settings, _: argparse.Namespace) -> int:
    """Ask everything `up` needs and go on after a refusal, so that all cures are seen at once."""

    def packages() -> None:
        if missing := prerequisites.missing_packages():
            raise Problem(f"missing: {' '.join(missing)}", "`up` installs them with apt-get")

    def owner() -> None:
        marker = read_marker(settings.run)
        if marker and marker.state != str(settings.state):
            raise Problem(
                f"a cluster of {marker.checkout} owns this machine", f"make -C {marker.checkout} cluster-down"
            )

    processes = Processes(settings.run, settings.logs)
    questions: dict[str, Callable[[], None]] = {
        "root on Linux": prerequisites.require_root_and_linux,
        "Go": prerequisites.require_go,
        "Debian packages": packages,
        "disk": lambda: prerequisites.require_disk(settings),
        "no other cluster": owner,
        "ports": lambda: prerequisites.require_free_ports(settings, processes),
    }
    refused = 0
    for name, question in questions.items():
        try:
            question()
            print(f"  {name:<24} ok")
        except Problem as problem:
            refused += 1
            print(f"  {name:<24} {problem}")
    return 1 if refused else 0


def env(settings: Settings, _: argparse.Namespace) -> int:
    for name, value in environment(settings).items():
        print(f"export {name}={value if name == 'PATH' else shlex.quote(value)}")
    return 0


def environment(settings: Settings) -> dict[str, str]:
    """What demo, tests and people need to find the cluster and its stores."""
    return {
        "KUBECONFIG": str(settings.kubeconfig),
        "CLARA_REGISTRY": settings.registry,
        "CLARA_S3_ENDPOINT": settings.s3_endpoint,
        **stores.read_s3_keys(settings),
        "AWS_DEFAULT_REGION": "us-east-1",  # versitygw's; clients insist on one
        "PATH": f"{shlex.quote(str(settings.bin))}:$PATH",
    }


def kubeconfig(settings: Settings, _: argparse.Namespace) -> int:
    print(settings.kubeconfig)
    return 0


def kubectl(settings: Settings, arguments: Sequence[str]) -> int:
    program = settings.bin / "kubectl"
    if not program.exists():
        print("there is no cluster yet\n  cure: make cluster-up", file=sys.stderr)
        return 1
    os.execve(program, [str(program), *arguments], {**os.environ, "KUBECONFIG": str(settings.kubeconfig)})


def user(settings: Settings, options: argparse.Namespace) -> int:
    print(certificates.issue_user(settings, options.name, options.group))
    return 0


def volume(settings: Settings, options: argparse.Namespace) -> int:
    print(addons.make_volume(settings, options.namespace))
    return 0


def stop_apiserver(settings: Settings, _: argparse.Namespace) -> int:
    Processes(settings.run, settings.logs).stop("kube-apiserver", first=signal.SIGKILL)
    return 0


def start_apiserver(settings: Settings, _: argparse.Namespace) -> int:
    with only_one():
        Processes(settings.run, settings.logs).ensure(make_process(settings, "kube-apiserver"))
    return 0


def restart_apiserver(settings: Settings, options: argparse.Namespace) -> int:
    return stop_apiserver(settings, options) or start_apiserver(settings, options)


COMMANDS: dict[str, Callable[[Settings, argparse.Namespace], int]] = {
    "up": up,
    "down": down,
    "status": status,
    "doctor": doctor,
    "build": build,
    "env": env,
    "kubeconfig": kubeconfig,
    "kubectl": lambda *_: 0,  # listed for the help; `main` takes it first
    "user": user,
    "volume": volume,
    "stop-apiserver": stop_apiserver,
    "start-apiserver": start_apiserver,
    "restart-apiserver": restart_apiserver,
}
