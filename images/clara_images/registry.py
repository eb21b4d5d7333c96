"""What the registry has, and bringing it the rest."""

from __future__ import annotations

import urllib.error
import urllib.request

from .tools import Problem, buildah

LOCAL = ("198.18.", "127.0.0.1", "localhost")  # the local cluster's registry speaks plain HTTP
MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


def is_local(reference: str) -> bool:
    """Whether the registry is on this machine and spoken to without TLS; no other ever is."""
    return reference.startswith(LOCAL)


def has(reference: str) -> bool:
    """Whether the registry has the manifest; Problem when it does not answer."""
    request = urllib.request.Request(manifest_url(reference), method="HEAD", headers={"Accept": MANIFESTS})  # noqa: S310  # http or https, from manifest_url
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403, 404):  # a registry that asks for a login is asked again by `buildah push`
            return False
        raise Problem(f"the registry answered {error.code} for {reference}") from error
    except OSError as error:
        registry = reference.partition("/")[0]
        raise Problem(
            f"the registry {registry} does not answer ({error})\n  cure: make cluster-up, or set CLARA_REGISTRY"
        ) from error


def manifest_url(reference: str) -> str:
    """REGISTRY/NAME:TAG → the address of its manifest."""
    registry, _, rest = reference.partition("/")
    name, _, tag = rest.rpartition(":")
    return f"{'http' if is_local(reference) else 'https'}://{registry}/v2/{name}/manifests/{tag}"


def push(reference: str) -> None:
    """Push; zstd level 1 is three times as fast as gzip and smaller."""
    tls = ("--tls-verify=false",) if is_local(reference) else ()
    buildah(
        "push",
        "--quiet",
        *tls,
        "--compression-format",
        "zstd",
        "--compression-level",
        "1",
        reference,
        f"docker://{reference}",
    )
