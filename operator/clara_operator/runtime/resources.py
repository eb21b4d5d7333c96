"""Which kinds the operator watches and writes, and where they lie in the API: the one table of paths.

Called by everything that speaks HTTP to the API server (`act`, `sweep`, `lease`, `recorder`) and by `main`, which gives kopf
one watch per WATCHED row and namespace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clara_api.kinds import KINDS
from clara_api.labels import MANAGED_BY, MANAGER
from clara_api.meta import API_VERSION

OURS = f"{MANAGED_BY}={MANAGER}"  # without it, a watch on Pods holds the whole namespace in memory


@dataclass(frozen=True, slots=True)
class Resource:
    """One namespaced kind. `selector` narrows its watch and its sweep to the objects Clara made."""

    api_version: str
    kind: str
    plural: str
    selector: str = ""

    @property
    def group(self) -> str:
        """The API group; empty for core/v1."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """The version inside the group."""
        return self.api_version.rpartition("/")[2]

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, of one object, or of its subresource."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        parts = (root, "namespaces", namespace, self.plural, name, subresource)
        return "/".join(part for part in parts if part)


WATCHED: tuple[Resource, ...] = (
    *(Resource(API_VERSION, kind.kind, kind.plural) for kind in KINDS),
    Resource("batch/v1", "Job", "jobs", OURS),
    Resource("v1", "Pod", "pods", OURS),
    Resource("apps/v1", "Deployment", "deployments", OURS),
    Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", OURS),
)

LEASE = Resource("coordination.k8s.io/v1", "Lease", "leases")
EVENT = Resource("events.k8s.io/v1", "Event", "events")
SECRET = Resource("v1", "Secret", "secrets")
ENDPOINT_SLICE = Resource("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")

WRITTEN_ONLY: tuple[Resource, ...] = (
    Resource("v1", "ConfigMap", "configmaps"),
    Resource("v1", "Service", "services"),
    Resource("v1", "ServiceAccount", "serviceaccounts"),
    SECRET,
    ENDPOINT_SLICE,
)

BY_KIND: Mapping[str, Resource] = {r.kind: r for r in (*WATCHED, *WRITTEN_ONLY, LEASE, EVENT)}


def resource_of(api_version: str, kind: str) -> Resource:
    """The row of a manifest's kind; KeyError names a kind that was never added to the table."""
    found = BY_KIND.get(kind)
    if found is None or found.api_version != api_version:
        raise KeyError(f"{api_version} {kind} is not in clara_operator.runtime.resources")
    return found
