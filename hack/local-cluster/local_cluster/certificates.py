"""One certificate authority; server and client certificates; kubeconfigs. All by the openssl program.

A file that exists is kept, so a warm start costs nothing; `down --purge` is the way to new ones.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .settings import Settings
from .shell import run, to_json, write_if_changed
from .steps import Problem

DAYS = "3650"
MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate: its file's name, who it names, and the addresses it may serve."""

    name: str
    common_name: str
    groups: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()  # "DNS:…" and "IP:…"


def identities(settings: Settings) -> tuple[Identity, ...]:
    network = settings.network
    api_names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
    api_addresses = ("127.0.0.1", network.node, network.kubernetes_service)
    serves = (
        *(f"DNS:{name}" for name in (*api_names, "kubernetes.default.svc.cluster.local")),
        *(f"IP:{address}" for address in api_addresses),
    )
    return (
        Identity("kube-apiserver", "kube-apiserver", serves=serves),
        Identity("apiserver-kubelet-client", "kube-apiserver-kubelet-client", (MASTERS,)),
        # The API server accepts X-Remote-User from this name only: with one CA for all, every
        # certificate would otherwise be allowed to speak for anybody.
        Identity("front-proxy-client", "front-proxy-client"),
        Identity("admin", "admin", (MASTERS,)),
        Identity("kube-controller-manager", "system:kube-controller-manager"),
        Identity("kube-scheduler", "system:kube-scheduler"),
        Identity("kube-proxy", "system:kube-proxy"),
        Identity(
            "kubelet",
            f"system:node:{settings.node_name}",
            ("system:nodes",),
            (f"IP:{network.node}", f"DNS:{settings.node_name}"),
        ),
    )


KUBECONFIGS = ("kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")


def all_there(settings: Settings) -> bool:
    files = [settings.kubeconfig, settings.pki / "ca.crt", settings.pki / "service-accounts.key"]
    files += [settings.pki / f"{identity.name}.crt" for identity in identities(settings)]
    files += [settings.pki / f"{name}.kubeconfig" for name in KUBECONFIGS]
    return all(file.exists() for file in files)


def make_all(settings: Settings) -> None:
    settings.pki.mkdir(parents=True, exist_ok=True)
    settings.pki.chmod(0o700)
    make_authority(settings.pki)
    for identity in identities(settings):
        issue(settings.pki, identity)
    for name in KUBECONFIGS:
        write_kubeconfig(settings, name, settings.pki / f"{name}.kubeconfig")
    write_kubeconfig(settings, "admin", settings.kubeconfig)


def make_authority(pki: Path) -> None:
    """The CA, and the key that signs service account tokens."""
    if not (pki / "ca.key").exists():
        new_key(pki / "ca.key")
    if not (pki / "service-accounts.key").exists():
        # RSA in the traditional form: the API server reads its verification key from the same file, and not from PKCS #8.
        run("openssl", "genrsa", "-traditional", "-out", pki / "service-accounts.key", "2048")
    if not (pki / "ca.crt").exists():
        run(
            "openssl", "req", "-x509", "-new", "-key", pki / "ca.key", "-days", DAYS, "-subj", "/CN=clara-local-cluster",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature", "-out", pki / "ca.crt",
        )  # fmt: skip


def new_key(file: Path) -> None:
    file.touch(mode=0o600)
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", file)


def issue(folder: Path, identity: Identity, authority: Path | None = None) -> None:
    """Write NAME.key and NAME.crt, signed by the CA, unless they are there."""
    authority = authority or folder
    key, request, certificate = (folder / f"{identity.name}.{kind}" for kind in ("key", "csr", "crt"))
    if certificate.exists():
        return
    new_key(key)
    run("openssl", "req", "-new", "-key", key, "-subj", subject(identity), "-out", request)
    extensions = folder / f"{identity.name}.ext"
    extensions.write_text(extension_lines(identity))
    run(
        "openssl", "x509", "-req", "-in", request, "-CA", authority / "ca.crt", "-CAkey", authority / "ca.key",
        "-set_serial", "0x" + run("openssl", "rand", "-hex", "16").strip(), "-days", DAYS,
        "-extfile", extensions, "-out", certificate,
    )  # fmt: skip
    request.unlink()
    extensions.unlink()


def subject(identity: Identity) -> str:
    """openssl's notation: Kubernetes reads O as a group and CN as the user."""
    return "".join(f"/O={group}" for group in identity.groups) + f"/CN={identity.common_name}"


def extension_lines(identity: Identity) -> str:
    usage = "clientAuth, serverAuth" if identity.serves else "clientAuth"
    lines = ["basicConstraints=CA:FALSE", "keyUsage=critical,digitalSignature", f"extendedKeyUsage={usage}"]
    if identity.serves:
        lines.append(f"subjectAltName={','.join(identity.serves)}")
    return "\n".join(lines) + "\n"


def write_kubeconfig(settings: Settings, name: str, target: Path, folder: Path | None = None) -> None:
    """A kubeconfig that carries its certificates inside, so that it can be copied anywhere."""
    folder = folder or settings.pki

    def inline(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    user = {
        "client-certificate-data": inline(folder / f"{name}.crt"),
        "client-key-data": inline(folder / f"{name}.key"),
    }
    cluster = {"server": settings.api_url, "certificate-authority-data": inline(settings.pki / "ca.crt")}
    text = to_json(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "clara-local",
            "clusters": [{"name": "clara-local", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "clara-local", "context": {"cluster": "clara-local", "user": name}}],
        }
    )
    write_if_changed(target, text, mode=0o600)


def issue_user(settings: Settings, name: str, groups: Sequence[str] = ()) -> Path:
    """A kubeconfig for a person of a test; other groups for the same name replace the certificate."""
    for word in (name, *groups):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:@-]*", word):
            raise Problem(f"{word!r} cannot be a user or group here", "use letters, digits and _.:@-")
    if not (settings.pki / "ca.key").exists():
        raise Problem("there is no cluster to issue certificates for", "make cluster-up")
    users = settings.state / "users"
    users.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = users / f"{name}.kubeconfig"
    identity = Identity(name, name, tuple(groups))
    noted = users / f"{name}.subject"
    if not target.exists() or not noted.exists() or noted.read_text() != subject(identity):
        (users / f"{name}.crt").unlink(missing_ok=True)
        issue(users, identity, authority=settings.pki)
        write_kubeconfig(settings, name, target, folder=users)
        noted.write_text(subject(identity))
    return target
