"""The node's address, the route that keeps traffic at home, and the kernel's switches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from .settings import Network
from .shell import attempt, run

SYS = Path("/proc/sys")

# What pods need -> the value we set.
WANTED = {
    "net/ipv4/ip_forward": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
    "fs/inotify/max_user_instances": "1024",  # the default of 128 is used up by a few dozen pods
}
# Those that kubelet, kube-proxy and the portmap plugin change by themselves.
CHANGED_BY_OTHERS = (
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "net/ipv4/conf/all/route_localnet",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_be_liberal",
)


def read_switches() -> dict[str, str]:
    """The values that `down` puts back."""
    names = (*WANTED, *CHANGED_BY_OTHERS)
    return {name: (SYS / name).read_text().strip() for name in names if (SYS / name).exists()}


def write_switches(values: Mapping[str, str]) -> None:
    """A switch this kernel lacks, or forbids to set, is passed over."""
    for name, value in values.items():
        try:
            if (SYS / name).read_text().strip() != value:
                (SYS / name).write_text(value)
        except OSError:
            continue


def is_up(network: Network) -> bool:
    links = {link["ifname"]: link for link in json.loads(run("ip", "-json", "address"))}
    addresses = [entry["local"] for entry in links.get(network.bridge, {}).get("addr_info", [])]
    switched = all((SYS / name).read_text().strip() == value for name, value in WANTED.items() if (SYS / name).exists())
    return (
        network.node in addresses
        and bool(run("ip", "route", "show", "type", "unreachable", network.range))
        and switched
    )


def set_up(network: Network) -> None:
    if not Path("/sys/class/net", network.bridge).exists():
        run("ip", "link", "add", network.bridge, "type", "bridge", cure="this kernel needs the bridge module")
    run("ip", "address", "replace", f"{network.node}/32", "dev", network.bridge)
    run("ip", "link", "set", network.bridge, "up")
    # Without it, packets to an address of a pod that is gone would leave the machine.
    run("ip", "route", "replace", "unreachable", network.range)
    if not (SYS / "net/bridge").exists():
        attempt("modprobe", "br_netfilter")
    write_switches(WANTED)


def take_down(network: Network) -> None:
    for bridge in (network.pod_bridge, network.bridge):
        if Path("/sys/class/net", bridge).exists():
            attempt("ip", "link", "delete", bridge)
    attempt("ip", "route", "del", "unreachable", network.range)
