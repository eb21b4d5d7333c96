"""Which places a namespace may name, as a sentence when it may not. Pure; used by every kind that names a URI."""

from __future__ import annotations

from clara_api.uris import is_allowed

from clara_operator.settings import Settings


def uri_refusal(where: str, uri: str, namespace: str, settings: Settings) -> str | None:
    """Why `uri` may not be used, with the cure; None when it may."""
    own_runs = (
        f"{settings.artifact_prefix.rstrip('/')}/runs/{{namespace}}"  # where the operator itself puts checkpoints
    )
    if is_allowed(uri, (*settings.allowed_prefixes, own_runs), namespace=namespace):
        return None
    allowed = ", ".join(p.replace("{namespace}", namespace) for p in settings.allowed_prefixes)
    return (
        f"{where} '{uri}' lies outside what namespace {namespace} may use ({allowed}); use an allowed place, or ask the "
        "platform admin to extend the chart value artifactStore.allowedPrefixes"
    )
