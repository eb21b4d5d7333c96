"""The steps of `down`: stop everything, then look for what is left and remove it.

It works from the marker alone, so it can clean after another checkout's cluster, after a kill -9,
and after a checkout that was deleted. Pods outlive containerd through their shims, therefore they
are stopped over CRI first, while containerd still runs.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

from . import machine, network, node
from .leftovers import cni_results, mounts_under, removal_of_rules, shim_sockets, shims_of
from .processes import Processes, stop_all
from .settings import Settings
from .shell import attempt, run
from .steps import Problem, Step

CGROUPS = Path("/sys/fs/cgroup")
CNI_RESULTS = Path("/var/lib/cni/results")
KUBELET_DEFAULT = Path("/var/lib/kubelet")  # device-plugins go there, whatever --root-dir says
CONTAINER_LOGS = Path("/var/log/containers")  # links into our logs, which kubelet makes for log collectors
FIRST = ("kube-proxy", "kube-scheduler", "kube-controller-manager", "kubelet")
LAST = ("kube-apiserver", "containerd", "versitygw", "registry", "etcd")


def teardown_steps(settings: Settings, marker: machine.Marker) -> list[Step]:
    """`settings.state` must be the folder of the cluster that is to go."""
    processes = Processes(settings.run, settings.logs)
    return [
        Step("stop the controllers", lambda: stop_named(processes, FIRST)),
        Step("stop the pods", lambda: stop_pods(settings, processes)),
        Step("stop the servers", lambda: stop_named(processes, LAST)),
        Step("shims and containers", lambda: kill_containers(settings)),
        Step("mounts", lambda: unmount(settings)),
        Step("firewall rules", remove_rules),
        Step("bridges and route", lambda: network.take_down(settings.network)),
        Step("cgroups and sockets", lambda: remove_files(settings)),
        Step("kernel switches", lambda: network.write_switches(marker.switches)),
        Step("the machine's marker", lambda: forget(settings)),
    ]


def stop_named(processes: Processes, names: tuple[str, ...]) -> None:
    """Two seconds are plenty: the API server would wait a minute for its watchers, and etcd needs no time."""
    records = [record for name in names if (record := processes.record(name)) and record.alive()]
    stop_all(records, signal.SIGTERM, patience=2)
    for name in names:
        processes.stop(name)


def stop_pods(settings: Settings, processes: Processes) -> None:
    """Over CRI, so that addresses and rules go with the pods; what this cannot stop, the next steps kill."""
    record = processes.record("containerd")
    if not (record and record.alive()):
        if not shims_of(settings.containerd_socket, command_lines()):
            return
        try:
            processes.ensure(node.containerd(settings))  # it takes the orphaned shims back
        except (Problem, OSError):
            return
    binary = (settings.bin / "kubectl").resolve()  # the same program under its other name
    if binary.exists():
        attempt(binary, "stop-sandboxes", settings.cri_endpoint, seconds=60)


def command_lines() -> dict[int, list[str]]:
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
    return found


def kill_containers(settings: Settings) -> None:
    """SIGKILL to our shims and to every process in a pod's cgroup, until none is left."""
    for _ in range(50):
        doomed = set(shims_of(settings.containerd_socket, command_lines())) | pids_in_pods()
        if not doomed:
            return
        for pid in doomed:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.1)


def pod_cgroups() -> list[Path]:
    """The pods' cgroup folders in every hierarchy (v1), or in the only one (v2), deepest first."""
    tops = [
        top for name in ("kubepods", "k8s.io") for top in (CGROUPS / name, *CGROUPS.glob(f"*/{name}")) if top.is_dir()
    ]
    folders = [folder for top in tops for folder in (top, *top.rglob("*/"))]
    return sorted(folders, key=lambda folder: -len(folder.parts))


def pids_in_pods() -> set[int]:
    found: set[int] = set()
    for folder in pod_cgroups():
        try:
            found |= {int(pid) for pid in (folder / "cgroup.procs").read_text().split()}
        except OSError:
            continue
    return found


def unmount(settings: Settings) -> None:
    """Lazily, and again until none is left: mounts may be stacked."""
    for _ in range(5):
        for point in our_mounts(settings):
            attempt("umount", "--lazy", point)
    if left := our_mounts(settings):
        raise Problem(f"still mounted: {', '.join(left[:5])}", "umount them by hand, then run this again")


def our_mounts(settings: Settings) -> list[str]:
    return mounts_under(Path("/proc/self/mountinfo").read_text(), (settings.run, settings.state))


def remove_rules() -> None:
    for tables in ("iptables", "ip6tables"):
        script = removal_of_rules(run(f"{tables}-save"))
        if script:
            run(f"{tables}-restore", "--noflush", stdin=script)


def remove_files(settings: Settings) -> None:
    """Empty cgroups, sockets of shims, notes of CNI, and addresses of pods that are gone."""
    addresses = [file.read_text() for file in (settings.run / "containerd").glob("*/*/*/address")]
    for socket in shim_sockets(addresses):
        socket.unlink(missing_ok=True)
    for folder in pod_cgroups():
        for _ in range(20):  # the kernel takes a moment to forget a killed process
            try:
                folder.rmdir()
                break
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.05)
    for name in cni_results(os.listdir(CNI_RESULTS) if CNI_RESULTS.exists() else ()):
        (CNI_RESULTS / name).unlink(missing_ok=True)
    (KUBELET_DEFAULT / "device-plugins" / "kubelet.sock").unlink(missing_ok=True)
    for link in CONTAINER_LOGS.glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(settings.logs):
            link.unlink()
    empty_folders = (
        CNI_RESULTS, CNI_RESULTS.parent / "cache", CNI_RESULTS.parent,
        KUBELET_DEFAULT / "device-plugins", KUBELET_DEFAULT, CONTAINER_LOGS,
        Path("/run/containerd/s"), Path("/run/containerd"),
    )  # fmt: skip
    for folder in empty_folders:
        try:
            folder.rmdir()
        except OSError:
            continue  # not there, or somebody else's files are in it


def forget(settings: Settings) -> None:
    """Last of all: without the marker nobody would know what to clean."""
    shutil.rmtree(settings.run, ignore_errors=True)


def purge(settings: Settings) -> None:
    """Delete the cluster's data too; never through a mount, which could lead to somebody else's files."""
    unmount(settings)
    shutil.rmtree(settings.state, ignore_errors=True)
