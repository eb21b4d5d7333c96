"""Where things are and which numbers they have: one frozen object, read once by `commands`.

Addresses come from 198.18.0.0/15, the benchmarking range (RFC 2544): nobody's real network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

KUBERNETES_VERSION = "v1.34.4"  # 1.35 asks for cgroup v2, 1.36 for containerd 2; Debian 12 has neither
COREDNS_VERSION = "v1.15.0"

# Everything but Kubernetes itself: name of the program -> module at an exact version.
GO_PROGRAMS: Mapping[str, str] = {
    "registry": "github.com/distribution/distribution/v3/cmd/registry@v3.1.2",
    "versitygw": "github.com/versity/versitygw/cmd/versitygw@v1.8.0",
    "coredns": f"github.com/coredns/coredns@{COREDNS_VERSION}",
    "helm": "helm.sh/helm/v4/cmd/helm@v4.3.1",
}


@dataclass(frozen=True, slots=True)
class Network:
    """One node, so every address is a constant."""

    bridge: str = "clara0"  # carries the node's address; these kernels lack the dummy device
    pod_bridge: str = "clara-pods"  # made by the CNI plugin
    node: str = "198.18.0.1"
    range: str = "198.18.0.0/15"  # unreachable unless routed here, so that nothing strays outside
    cluster_cidr: str = "198.18.64.0/18"
    node_pod_cidr: str = "198.18.64.0/24"  # the first /24 of cluster_cidr, which the first node gets
    service_cidr: str = "198.18.128.0/20"
    kubernetes_service: str = "198.18.128.1"
    dns_service: str = "198.18.128.10"


@dataclass(frozen=True, slots=True)
class Settings:
    """Paths of one checkout's cluster; `state` dies with the checkout, `run` is the machine's, `cache` outlives both."""

    source: Path  # this folder: go.mod, main.go
    state: Path  # <repo>/.cluster: etcd, images, certificates, logs
    cache: Path  # built programs and the registry's layers, shared by all checkouts
    run: Path = Path("/run/clara-local-cluster")  # sockets, process records; short, as sockets allow 107 characters
    take_over: bool = False  # stop another checkout's cluster first
    network: Network = field(default_factory=Network)
    node_name: str = "node1"
    api_port: int = 6443
    etcd_port: int = 2379
    kubelet_port: int = 10250
    registry_port: int = 5000
    s3_port: int = 7070
    min_disk_gib: int = 12  # binaries and Go's caches 5, ML images 6.5
    max_pods: int = 110

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def bin(self) -> Path:
        return self.state / "bin"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def config(self) -> Path:
        return self.state / "config"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def cri_endpoint(self) -> str:
        return f"unix://{self.containerd_socket}"

    @property
    def api_url(self) -> str:
        return f"https://{self.network.node}:{self.api_port}"

    @property
    def registry(self) -> str:
        return f"{self.network.node}:{self.registry_port}"

    @property
    def s3_endpoint(self) -> str:
        return f"http://{self.network.node}:{self.s3_port}"


def read_settings(environ: Mapping[str, str], source: Path) -> Settings:
    """CLARA_CACHE, XDG_CACHE_HOME and CLARA_TAKE_OVER are the only knobs."""
    home = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME", "/root")) / ".cache")
    cache = environ.get("CLARA_CACHE") or f"{home}/clara"
    return Settings(
        source=source,
        state=source.parent.parent / ".cluster",
        cache=Path(cache).absolute(),
        take_over=environ.get("CLARA_TAKE_OVER") == "1",
    )
