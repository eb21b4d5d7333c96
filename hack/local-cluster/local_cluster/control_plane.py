"""etcd, API server, controller-manager and scheduler: their command lines and their health."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from .processes import Process
from .settings import Settings
from .shell import answers


def flags(values: dict[str, object]) -> tuple[str, ...]:
    """{"a-b": True} -> --a-b=true."""
    return tuple(
        f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in values.items()
    )


def etcd(settings: Settings, binary: Path) -> Process:
    """Plain HTTP, but on loopback only; its peer address exists because etcd insists on one."""
    client = f"http://127.0.0.1:{settings.etcd_port}"
    peer = f"http://127.0.0.1:{settings.etcd_port + 1}"
    values = {
        "name": "clara",
        "data-dir": settings.state / "etcd",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"clara={peer}",
        "unsafe-no-fsync": True,  # a development cluster may lose its last second when power fails
        "auto-compaction-retention": "30m",
        "quota-backend-bytes": 4 * 2**30,
        "log-level": "warn",
    }
    return Process("etcd", (str(binary), "etcd", *flags(values)), partial(answers, f"{client}/health"))


def api_server(settings: Settings, binary: Path) -> Process:
    network, pki = settings.network, settings.pki
    values = {
        "advertise-address": network.node,
        "bind-address": network.node,  # never on the machine's outer address
        "secure-port": settings.api_port,
        "etcd-servers": f"http://127.0.0.1:{settings.etcd_port}",
        "service-cluster-ip-range": network.service_cidr,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": True,
        "client-ca-file": pki / "ca.crt",
        "tls-cert-file": pki / "kube-apiserver.crt",
        "tls-private-key-file": pki / "kube-apiserver.key",
        # `kubectl logs` would look the node's name up in DNS otherwise.
        "kubelet-preferred-address-types": "InternalIP",
        "kubelet-certificate-authority": pki / "ca.crt",
        "kubelet-client-certificate": pki / "apiserver-kubelet-client.crt",
        "kubelet-client-key": pki / "apiserver-kubelet-client.key",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": pki / "service-accounts.key",
        "service-account-signing-key-file": pki / "service-accounts.key",
        "requestheader-client-ca-file": pki / "ca.crt",
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": pki / "front-proxy-client.crt",
        "proxy-client-key-file": pki / "front-proxy-client.key",
        "profiling": False,
    }
    healthy = partial(answers, f"{settings.api_url}/readyz", pki / "ca.crt")
    return Process("kube-apiserver", (str(binary), "kube-apiserver", *flags(values)), healthy)


def controller_manager(settings: Settings, binary: Path) -> Process:
    network, pki = settings.network, settings.pki
    values = {
        **clients(settings, "kube-controller-manager"),
        "allocate-node-cidrs": True,
        "cluster-cidr": network.cluster_cidr,
        "service-cluster-ip-range": network.service_cidr,
        "use-service-account-credentials": True,
        "service-account-private-key-file": pki / "service-accounts.key",
        "root-ca-file": pki / "ca.crt",
        "cluster-signing-cert-file": pki / "ca.crt",
        "cluster-signing-key-file": pki / "ca.key",
        "flex-volume-plugin-dir": settings.state / "kubelet" / "volume-plugins",  # it makes the folder
        "kube-api-qps": 300,  # scale tests would otherwise measure this client's own brake
        "kube-api-burst": 600,
    }
    argv = (str(binary), "kube-controller-manager", *flags(values))
    return Process("kube-controller-manager", argv, local_health(10257))


def scheduler(settings: Settings, binary: Path) -> Process:
    values = {**clients(settings, "kube-scheduler"), "kube-api-qps": 300, "kube-api-burst": 600}
    return Process("kube-scheduler", (str(binary), "kube-scheduler", *flags(values)), local_health(10259))


def clients(settings: Settings, name: str) -> dict[str, object]:
    """What both clients of the API server say: who they are, and that nobody competes with them."""
    kubeconfig = settings.pki / f"{name}.kubeconfig"
    return {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "bind-address": "127.0.0.1",
        "leader-elect": False,
        "profiling": False,
    }


def local_health(port: int) -> Callable[[], bool]:
    """These two serve /healthz with a certificate made at the start, so there is nothing to verify it with."""
    return partial(answers, f"https://127.0.0.1:{port}/healthz", verify=False)
