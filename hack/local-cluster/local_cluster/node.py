"""The node: container runtime with its network plugins, kubelet, kube-proxy."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .control_plane import flags
from .processes import Process
from .settings import Settings
from .shell import accepts, answers, to_json, write_if_changed

PLUGINS_NOT_NEEDED = ("aufs", "btrfs", "devmapper", "zfs")


def write_configs(settings: Settings, pause_image: str) -> None:
    """All files that containerd, the CNI plugins and kubelet read; a changed one restarts its reader."""
    config = settings.config
    write_if_changed(config / "containerd.toml", containerd_config(settings, pause_image))
    write_if_changed(config / "cni" / "10-clara.conflist", to_json(cni_config(settings)))
    hosts = config / "certs.d" / settings.registry / "hosts.toml"
    write_if_changed(hosts, registry_hosts(settings.registry))
    write_if_changed(config / "kubelet.json", to_json(kubelet_config(settings)))


def containerd_config(settings: Settings, pause_image: str) -> str:
    """State and sockets lie in the run folder (short paths), images and snapshots in the checkout."""
    disabled = ", ".join(f'"io.containerd.snapshotter.v1.{name}"' for name in PLUGINS_NOT_NEEDED)
    return f"""\
version = 2
root = "{settings.state}/containerd"
state = "{settings.run}/containerd"
disabled_plugins = [{disabled}]

[grpc]
  address = "{settings.containerd_socket}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{settings.state}/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  # Where root lacks CAP_SYS_RESOURCE no process may lower its OOM score: every pod would die at birth.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  Root = "{settings.run}/runc"

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{settings.config}/cni"

[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "{settings.config}/certs.d"
"""


def registry_hosts(registry: str) -> str:
    """Plain HTTP for the local registry, and for no other."""
    return f"""\
server = "http://{registry}"

[host."http://{registry}"]
  capabilities = ["pull", "resolve"]
"""


def cni_config(settings: Settings) -> dict[str, object]:
    network = settings.network
    bridge = {
        "type": "bridge",
        "bridge": network.pod_bridge,
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,  # a pod may reach itself through its Service
        "ipam": {
            "type": "host-local",
            "dataDir": str(settings.run / "addresses"),
            "ranges": [[{"subnet": network.node_pod_cidr}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "clara", "plugins": [bridge, portmap]}


def kubelet_config(settings: Settings) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": settings.network.node,
        "port": settings.kubelet_port,
        "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": 10248,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(settings.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(settings.pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(settings.pki / "kubelet.key"),
        "containerRuntimeEndpoint": settings.cri_endpoint,
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "clusterDomain": "cluster.local",
        "clusterDNS": [settings.network.dns_service],
        "resolvConf": "",  # pods with dnsPolicy Default ask nobody: nothing leaves the machine by name
        "maxPods": settings.max_pods,
        "podLogsDir": str(settings.logs / "pods"),
        "volumePluginDir": str(settings.state / "kubelet" / "volume-plugins"),
        "serializeImagePulls": False,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
        # Kubernetes' defaults evict every pod as soon as the disk is 85 % full.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def containerd(settings: Settings) -> Process:
    config = settings.config / "containerd.toml"
    argv = ("/usr/bin/containerd", "--config", str(config))
    return Process("containerd", argv, partial(accepts, settings.containerd_socket), reads=(config,))


def kubelet(settings: Settings, binary: Path) -> Process:
    values: dict[str, object] = {
        "config": settings.config / "kubelet.json",
        "kubeconfig": settings.pki / "kubelet.kubeconfig",
        "hostname-override": settings.node_name,
        "node-ip": settings.network.node,
        "root-dir": settings.state / "kubelet",
        "cert-dir": settings.state / "kubelet" / "pki",
    }
    return Process(
        "kubelet",
        (str(binary), "kubelet", *flags(values)),
        partial(answers, "http://127.0.0.1:10248/healthz"),
        reads=(settings.config / "kubelet.json",),
    )


def kube_proxy(settings: Settings, binary: Path) -> Process:
    values: dict[str, object] = {
        "kubeconfig": settings.pki / "kube-proxy.kubeconfig",
        "hostname-override": settings.node_name,
        "proxy-mode": "iptables",
        "cluster-cidr": settings.network.cluster_cidr,
        "nodeport-addresses": f"127.0.0.0/8,{settings.network.node}/32",
        "healthz-bind-address": "127.0.0.1:10256",
        "metrics-bind-address": "127.0.0.1:10249",
        "oom-score-adj": 0,
        # Zero leaves the machine's connection tracking as it is.
        "conntrack-max-per-core": 0,
        "conntrack-tcp-timeout-established": 0,
        "conntrack-tcp-timeout-close-wait": 0,
    }
    argv = (str(binary), "kube-proxy", *flags(values))
    return Process("kube-proxy", argv, partial(answers, "http://127.0.0.1:10256/livez"))
