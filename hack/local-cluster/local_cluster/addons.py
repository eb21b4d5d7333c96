"""What runs inside the cluster from the first minute: CoreDNS. And the static volume a namespace may ask for."""

from __future__ import annotations

import socket
from pathlib import Path

from .settings import Settings
from .shell import attempt, run, to_json

Manifest = dict[str, object]
CLAIM = "clara-artifacts"
DNS = ("--namespace", "kube-system")

# Names outside the cluster are answered with "no such name" at once: without it a lookup hangs.
COREFILE = """\
cluster.local:53 in-addr.arpa:53 {
    errors
    ready :8181
    kubernetes cluster.local in-addr.arpa { ttl 5 }
    cache 5
    reload
}
.:53 {
    template ANY ANY { rcode NXDOMAIN }
}
"""


def kubectl(settings: Settings, *arguments: str, stdin: str | None = None) -> str:
    return run(settings.bin / "kubectl", "--kubeconfig", settings.kubeconfig, *arguments, stdin=stdin)


def apply(settings: Settings, *manifests: Manifest) -> None:
    """Server-side apply, as one list: it says the same however often it runs."""
    text = to_json({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
    kubectl(settings, "apply", "--server-side", "--force-conflicts", "--filename=-", stdin=text)


def node_exists(settings: Settings) -> bool:
    return attempt(settings.bin / "kubectl", "--kubeconfig", settings.kubeconfig, "get", "node", settings.node_name)


def dns_is_ready(settings: Settings, image: str) -> bool:
    """The deployment is today's, and its pod resolves names: right after a warm start its status is yesterday's.

    The pod is asked, because the machine itself has no route to service addresses, only pods have.
    """
    image_path = "-o=jsonpath={.spec.template.spec.containers[0].image}"
    address_path = "-o=jsonpath={.items[*].endpoints[*].addresses[0]}"
    slices = ("endpointslices", "--selector=kubernetes.io/service-name=kube-dns")
    if kubectl(settings, *DNS, "get", "deployment", "coredns", "--ignore-not-found", image_path) != image:
        return False
    addresses = kubectl(settings, *DNS, "get", *slices, address_path).split()
    return any(resolves(address, "kubernetes.default.svc.cluster.local") for address in addresses)


def resolves(server: str, name: str, seconds: float = 0.5) -> bool:
    """Ask `server` for the A record of `name` (RFC 1035) over UDP; True when it has one."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = b"\x12\x34\x01\x00\x00\x01" + bytes(6) + labels + b"\x00\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(seconds)
        try:
            probe.sendto(question, (server, 53))
            answer = probe.recv(512)
        except OSError:
            return False
    rcode, answers = answer[3] & 15, int.from_bytes(answer[6:8], "big")
    return answer[:2] == question[:2] and rcode == 0 and answers > 0


def dns_manifests(settings: Settings, image: str) -> list[Manifest]:
    """The objects of CoreDNS' own deployment guide, cut to one replica on one node."""
    meta = {"name": "coredns", "namespace": "kube-system"}
    labels = {"k8s-app": "kube-dns"}
    rules = [
        {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"}
    subjects = [{"kind": "ServiceAccount", **meta}]
    ports = [{"name": f"dns-{kind.lower()}", "port": 53, "protocol": kind} for kind in ("UDP", "TCP")]
    spec = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": dns_pod(image)},
    }
    service = {"selector": labels, "clusterIP": settings.network.dns_service, "ports": ports}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {
            "apiVersion": role["apiGroup"] + "/v1",
            "kind": "ClusterRole",
            "metadata": {"name": role["name"]},
            "rules": rules,
        },
        {
            "apiVersion": role["apiGroup"] + "/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": role["name"]},
            "roleRef": role,
            "subjects": subjects,
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"Corefile": COREFILE}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": {**meta, "name": "kube-dns"}, "spec": service},
    ]


def dns_pod(image: str) -> Manifest:
    container = {
        "name": "coredns",
        "image": image,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "170Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]},
        },
    }
    return {
        "serviceAccountName": "coredns",
        "priorityClassName": "system-cluster-critical",
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }


def volume_manifests(folder: Path, namespace: str) -> list[Manifest]:
    """A volume reserved for one namespace's claim. No StorageClass, no provisioner: there is one node."""
    size = {"storage": "20Gi"}  # hostPath does not enforce it
    common = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    volume = f"{CLAIM}-{namespace}"
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume, "labels": {"app.kubernetes.io/part-of": "clara-local-cluster"}},
            "spec": {
                **common,
                "capacity": size,
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": str(folder), "type": "Directory"},
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "name": CLAIM,
                    "namespace": namespace,
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": CLAIM, "namespace": namespace},
            "spec": {**common, "volumeName": volume, "resources": {"requests": size}},
        },
    ]


def make_volume(settings: Settings, namespace: str) -> Path:
    """Create the volume and the claim of `namespace`, and wait until they found each other; returns the folder."""
    folder = settings.state / "volumes" / CLAIM / namespace
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)  # pods run as users of their own, and fsGroup does not reach a hostPath
    volume = f"{CLAIM}-{namespace}"
    released = kubectl(settings, "get", "pv", volume, "--ignore-not-found", "-o", "jsonpath={.status.phase}")
    if released == "Released":  # its claim was deleted: forget that one's uid, keep the data
        patch = '[{"op":"remove","path":"/spec/claimRef/uid"}]'
        kubectl(settings, "patch", "pv", volume, "--type=json", f"--patch={patch}")
    apply(settings, *volume_manifests(folder, namespace))
    bound = "--for=jsonpath={.status.phase}=Bound"
    kubectl(settings, "-n", namespace, "wait", bound, f"pvc/{CLAIM}", "--timeout=30s")
    return folder
