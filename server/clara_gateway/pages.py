"""What the gateway answers by itself: the model list for clients, health for Kubernetes, the status table for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from aiohttp import web

from clara_gateway.credentials import Credentials
from clara_gateway.ejection import Ejections
from clara_gateway.in_flight import InFlight
from clara_gateway.knowledge import Knowledge
from clara_gateway.middleware import EXCHANGE
from clara_gateway.refusals import RefusalError, unavailable
from clara_gateway.routing.filters import EngineView, why_no_requests
from clara_gateway.routing.names import Caller, Refused, Target, resolve
from clara_gateway.routing.snapshot import FamilyView, NamespaceView, ServedVersion, Snapshot


class Pages:
    """Read-only answers out of what is known."""

    def __init__(
        self,
        knowledge: Knowledge,
        ejections: Ejections,
        in_flight: InFlight,
        *,
        credentials: Credentials,
        watch_age: Callable[[], float],
        is_leaving: Callable[[], bool],
    ) -> None:
        self._knowledge = knowledge
        self._ejections = ejections
        self._in_flight = in_flight
        self._credentials = credentials
        self._watch_age = watch_age
        self._is_leaving = is_leaving

    async def health(self, _: web.Request) -> web.Response:
        """Alive: the event loop answers."""
        return web.json_response({"alive": True})

    async def ready(self, _: web.Request) -> web.Response:
        """Ready once everything was listed; later an unreachable API server does not matter."""
        ready = self._knowledge.synced and not self._is_leaving()
        return web.json_response({"ready": ready}, status=200 if ready else 503)

    async def models(self, request: web.Request) -> web.Response:
        """GET /v1/models: every name this caller may use now."""
        return web.json_response({"object": "list", "data": list(model_list(self._seen(), self._caller(request)))})

    async def model(self, request: web.Request) -> web.Response:
        """GET /v1/models/NAME: one of them, or the error a completion would get."""
        caller, asked, snapshot = self._caller(request), request.match_info["name"], self._seen()
        request[EXCHANGE].asked = asked[:256]
        meaning = resolve(snapshot, asked, caller)
        if isinstance(meaning, Refused):
            raise RefusalError(meaning.status, meaning.code, meaning.message)
        if not isinstance(meaning, Target):
            raise unavailable("model_loading", f"'{meaning.public_name}' is being loaded.")
        plain = asked.rpartition("/")[2]
        card = next(c for c in namespace_models(meaning.namespace, snapshot, caller) if c["id"] == plain)
        return web.json_response({**card, "id": asked})

    async def status(self, request: web.Request) -> web.Response:
        """GET /status: bases, families with versions, and engines, for people."""
        caller, snapshot = self._caller(request), self._seen()
        page = {
            "watchAgeSeconds": round(self._watch_age(), 1),
            "namespaces": {n: _namespace(v) for n, v in snapshot.namespaces.items() if caller.may_see(n)},
            "engines": [self._engine(e) for e in snapshot.engines if caller.may_see(e.namespace)],
        }
        return web.json_response(page)

    def _caller(self, request: web.Request) -> Caller:
        caller = self._credentials.keys.caller(request.headers.get("Authorization", ""))
        request[EXCHANGE].key_id = caller.key_id
        return caller

    def _seen(self) -> Snapshot:
        if not self._knowledge.synced:
            raise unavailable("not_ready", "The gateway has not seen the cluster yet.")
        return self._knowledge.snapshot

    def _engine(self, engine: EngineView) -> dict[str, Any]:
        ejection = self._ejections.get(engine.key)
        return {
            "name": engine.name,
            "namespace": engine.namespace,
            "deployment": engine.deployment,
            "address": engine.address,
            "takesRequests": ejection is None and why_no_requests(engine) is None,
            "why": ejection.reason if ejection else why_no_requests(engine),
            "inFlight": self._in_flight.counts.get(engine.key, 0),
            "verified": sorted(engine.verified),
        }


def model_list(snapshot: Snapshot, caller: Caller) -> Iterator[dict[str, Any]]:
    """Cards of the caller's namespace; a caller without one gets all, with the namespace in the name."""
    home = caller.bound or caller.home
    for namespace in snapshot.namespaces:
        if home is not None and namespace != home:
            continue
        for card in namespace_models(namespace, snapshot, caller):
            yield card if home else {**card, "id": f"{namespace}/{card['id']}"}


def namespace_models(namespace: str, snapshot: Snapshot, caller: Caller) -> Iterator[dict[str, Any]]:
    """Base, aliases and exact versions in service, in OpenAI's shape; `root` and `parent` as vLLM uses them."""
    view = snapshot.namespaces[namespace]
    for base in view.bases.values():
        if caller.may_use(None):
            yield _card(base.name, base.created, namespace, root=base.name, parent=None)
    for family in view.families.values():
        if not caller.may_use(family.name):
            continue
        if alias := family.alias:
            yield _card(family.name, alias.created, namespace, root=alias.public_name, parent=alias.base)
        for v in family.versions.values():
            if v.state == "Serving":
                yield _card(v.public_name, v.created, namespace, root=v.public_name, parent=v.base)


def _card(name: str, created: int, namespace: str, *, root: str, parent: str | None) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": namespace, "root": root, "parent": parent}


def _namespace(view: NamespaceView) -> dict[str, Any]:
    return {
        "bases": {b.name: {"engines": [p.engine.name for p in b.placements]} for b in view.bases.values()},
        "families": {f.name: _family(f) for f in view.families.values()},
    }


def _family(family: FamilyView) -> dict[str, Any]:
    alias = family.alias.version if family.alias else None
    return {"alias": alias, "versions": {v.version: _version(v) for v in family.versions.values()}}


def _version(v: ServedVersion) -> dict[str, Any]:
    return {"state": v.state, "engines": [p.engine.name for p in v.placements], "successor": v.successor}
