"""Pure: which mounts, firewall rules and runtime shims on this machine are the cluster's.

`teardown` reads the machine, asks here, and removes what it is told; the tests need no root.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

OUR_CHAIN = re.compile(r"(KUBE|CNI)-[A-Za-z0-9-]+")


def mounts_under(mountinfo: str, folders: Iterable[Path]) -> list[str]:
    """Mount points inside `folders`, deepest first, from the text of /proc/self/mountinfo."""
    found = []
    prefixes = [f"{folder}/" for folder in folders]
    for line in mountinfo.splitlines():
        point = unescape(line.split()[4])
        if any(f"{point}/".startswith(prefix) for prefix in prefixes):
            found.append(point)
    return sorted(found, key=lambda point: (-point.count("/"), point))


def unescape(text: str) -> str:
    r"""The kernel writes a blank in a path as \040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def removal_of_rules(saved: str) -> str:
    """Input for `iptables-restore --noflush` that undoes our lines of `iptables-save`; "" when there are none.

    Only the chains of Kubernetes and CNI and the lines that name them go; other rules are not rewritten.
    """
    script: list[str] = []
    table: list[str] = []
    chains: list[str] = []
    jumps: list[str] = []
    for line in saved.splitlines():
        word, _, rest = line.partition(" ")
        if line.startswith("*"):
            table, chains, jumps = [line], [], []
        elif line.startswith(":") and OUR_CHAIN.fullmatch(word[1:]):
            chains.append(word[1:])
        elif word == "-A" and is_jump_of_ours(rest):
            jumps.append(f"-D {rest}")
        elif line == "COMMIT" and (chains or jumps):
            flushed = [f"-F {chain}" for chain in chains]  # all first: chains refer to each other
            dropped = [f"-X {chain}" for chain in chains]
            script += [*table, *jumps, *flushed, *dropped, "COMMIT"]
    return "\n".join(script) + "\n" if script else ""


def is_jump_of_ours(rule: str) -> bool:
    """A line in a foreign chain that leads into one of ours, or that one of our programs commented."""
    chain = rule.split(maxsplit=1)[0]
    if OUR_CHAIN.fullmatch(chain):
        return False  # goes with its chain
    target = re.search(r"-[jg] (\S+)", rule)
    return bool(target and OUR_CHAIN.fullmatch(target[1]))


def shims_of(socket: Path, command_lines: Mapping[int, list[str]]) -> list[int]:
    """Process ids of the containerd shims that report to our socket."""
    return [
        pid
        for pid, words in command_lines.items()
        if words and Path(words[0]).name.startswith("containerd-shim") and str(socket) in words
    ]


def shim_sockets(addresses: Iterable[str]) -> list[Path]:
    """Socket files from the `address` files that containerd keeps for each shim."""
    found = (address.strip().removeprefix("unix://") for address in addresses)
    return [Path(path) for path in found if path.startswith("/run/containerd/s/")]


def cni_results(names: Iterable[str], network: str = "clara") -> list[str]:
    """Files of CNI's result cache that belong to our pods; the loopback's name only tells the pod's id."""
    names = list(names)
    ids = [match[1] for name in names if (match := re.fullmatch(rf"{network}-([0-9a-f]+)-\w+", name))]
    return [name for name in names if any(f"-{pod}-" in name for pod in ids)]
