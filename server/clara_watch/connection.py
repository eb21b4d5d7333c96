"""Where the API server is and how it is asked: in-cluster files, or a kubeconfig. Called by `api.ApiClient`.

A kubeconfig is for development and tests; only tokens and client certificates are read from it, no exec plugins.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ConfigurationError(Exception):
    """The API server cannot be addressed; says which file or variable is missing."""


@dataclass(frozen=True, slots=True)
class Connection:
    """An API server. `token_file` is read again for each request: the kubelet rotates it."""

    server: str
    tls: ssl.SSLContext | None = None
    token: str | None = None
    token_file: Path | None = None

    def headers(self) -> dict[str, str]:
        """The Authorization header, or nothing when a client certificate speaks."""
        token = self.token_file.read_text().strip() if self.token_file else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}


def in_cluster(env: Mapping[str, str] = os.environ, directory: Path = SERVICE_ACCOUNT_DIR) -> Connection:
    """The connection of a pod with a mounted ServiceAccount token."""
    host, port = env.get("KUBERNETES_SERVICE_HOST"), env.get("KUBERNETES_SERVICE_PORT", "443")
    token_file, ca_file = directory / "token", directory / "ca.crt"
    if not host:
        raise ConfigurationError("KUBERNETES_SERVICE_HOST is not set: not in a pod; name a kubeconfig instead")
    if not token_file.exists():
        raise ConfigurationError(f"{token_file} is missing: mount a ServiceAccount token into this container")
    address = f"[{host}]" if ":" in host else host
    return Connection(
        server=f"https://{address}:{port}",
        tls=ssl.create_default_context(cafile=str(ca_file) if ca_file.exists() else None),
        token_file=token_file,
    )


def from_kubeconfig(path: str | Path) -> Connection:
    """The current context of a kubeconfig."""
    import yaml  # only where a kubeconfig is used: not in the gateway's pod  # noqa: PLC0415

    file = Path(path).expanduser()
    content = yaml.safe_load(file.read_text())
    context = _named(content, "contexts", content.get("current-context"), file)["context"]
    cluster = _named(content, "clusters", context["cluster"], file)["cluster"]
    user = _named(content, "users", context["user"], file)["user"]
    token_file = user.get("tokenFile")
    return Connection(
        server=cluster["server"].rstrip("/"),
        tls=_tls(cluster, user, file.parent) if cluster["server"].startswith("https") else None,
        token=user.get("token"),
        token_file=file.parent / token_file if token_file else None,
    )


def _named(content: dict[str, Any], section: str, name: str | None, file: Path) -> dict[str, Any]:
    for entry in content.get(section) or []:
        if entry.get("name") == name:
            return dict(entry)
    raise ConfigurationError(f"{file}: '{name}' is not among its {section}")


def _tls(cluster: dict[str, Any], user: dict[str, Any], directory: Path) -> ssl.SSLContext:
    authority = _bytes(cluster, "certificate-authority", directory)
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = _bytes(user, "client-certificate", directory), _bytes(user, "client-key", directory)
    if certificate and key:
        with tempfile.NamedTemporaryFile(suffix=".pem") as pem:  # ssl reads chains from files only
            pem.write(certificate + b"\n" + key)
            pem.flush()
            context.load_cert_chain(pem.name)
    return context


def _bytes(section: dict[str, Any], key: str, directory: Path) -> bytes | None:
    if inline := section.get(f"{key}-data"):
        return base64.b64decode(inline)
    return (directory / section[key]).read_bytes() if section.get(key) else None
