"""What a machine must bring, or gets: root, Linux, Go, Debian packages, disk, free ports."""

from __future__ import annotations

import ipaddress
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from .processes import Processes
from .settings import Settings
from .shell import found, run
from .steps import Problem

# A file that proves the package -> the package. containerd's own service is never touched:
# the cluster's containerd has its own root, state and socket.
PACKAGES = {
    "/usr/bin/containerd": "containerd",
    "/usr/sbin/runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "/usr/bin/buildah": "buildah",
    "/usr/sbin/iptables": "iptables",
    "/usr/sbin/conntrack": "conntrack",
    "/usr/bin/socat": "socat",
    "/usr/sbin/debootstrap": "debootstrap",
    "/usr/bin/openssl": "openssl",
    "/usr/bin/lua5.4": "lua5.4",  # runs the Argo CD health scripts in the tests
    "/sbin/ip": "iproute2",
    "/bin/mount": "mount",
    "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
}
GO_AT_LEAST = (1, 26)  # helm, coredns and the registry say so in their go.mod


def missing_packages(exists: Iterable[str] | None = None) -> list[str]:
    """Debian packages whose proof is not there."""
    here = set(exists) if exists is not None else {file for file in PACKAGES if Path(file).exists()}
    return [package for file, package in PACKAGES.items() if file not in here]


def install_packages() -> None:
    packages = missing_packages()
    cure = f"install these packages: {' '.join(packages)}"
    if not found("apt-get"):
        raise Problem("this is not a Debian, and programs are missing", cure)
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", "-qq", cure=cure, **quiet)
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages, cure=cure, **quiet)


def go_version(text: str) -> tuple[int, ...]:
    """`go version go1.26.8 linux/amd64` -> (1, 26, 8)."""
    match = re.search(r"go(\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def require_root_and_linux() -> None:
    if platform.system() != "Linux":
        raise Problem("the local cluster runs on Linux only", "use a cluster of yours: CLARA_CLUSTER=existing")
    if os.geteuid() != 0:
        raise Problem("namespaces, mounts and firewall rules need root", "run it as root, or with sudo -E")


def require_go() -> None:
    cure = "install Go 1.26 or newer from https://go.dev/dl and put its bin folder on PATH"
    if not found("go"):
        raise Problem("there is no `go` on PATH", cure)
    version = run("go", "version")
    if go_version(version) < GO_AT_LEAST and run("go", "env", "GOTOOLCHAIN").strip() == "local":
        raise Problem(f"Go is too old: {version.strip()}", cure)


def require_disk(settings: Settings) -> None:
    for folder in (settings.state.parent, settings.cache.parent):
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free / 2**30
        if free < settings.min_disk_gib and not settings.bin.exists():
            raise Problem(
                f"{folder} has {free:.0f} GiB free, {settings.min_disk_gib} are needed",
                "free some, or put the caches elsewhere with CLARA_CACHE",
            )


def listeners(tables: str, port: int) -> set[str]:
    """Addresses on which somebody listens, from /proc/net/tcp and tcp6.

    Connecting would not do: some networks answer for every address that is not local yet.
    """
    found = set()
    for words in (line.split() for line in tables.splitlines()):
        if len(words) > 3 and words[3] == "0A":  # TCP_LISTEN
            address, _, number = words[1].rpartition(":")
            if int(number, 16) == port:
                packed = b"".join(
                    int(address[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(address), 8)
                )
                found.add(str(ipaddress.ip_address(packed)))
    return found


def require_free_ports(settings: Settings, processes: Processes) -> None:
    """Each port must be free or held by our own process."""
    loopback, node = "127.0.0.1", settings.network.node
    tables = "".join(Path(file).read_text() for file in ("/proc/net/tcp", "/proc/net/tcp6") if Path(file).exists())
    for name, address, port in (
        ("etcd", loopback, settings.etcd_port),
        ("versitygw", loopback, settings.s3_port),
        ("kubelet", loopback, 10248),
        ("kube-apiserver", node, settings.api_port),
        ("registry", node, settings.registry_port),
    ):
        record = processes.record(name)
        if {address, "0.0.0.0", "::"} & listeners(tables, port) and not (record and record.alive()):
            raise Problem(
                f"{address}:{port}, the port of {name}, is taken by a program that is not ours",
                f"see who it is with `ss -ltnp 'sport = :{port}'` and stop it (another Kubernetes, perhaps?)",
            )
