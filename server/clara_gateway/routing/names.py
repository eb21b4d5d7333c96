"""From the `model` a client writes to what may answer it. Called by `proxy.py` per attempt and by `pages.py`.

    family            the alias, in the caller's namespace        steuerrecht
    family-X.Y.Z      exactly this version                        steuerrecht-1.0.0
    base              the base model                              tiny-de
    namespace/…       any of these in a named namespace           amt-a/steuerrecht

The caller's namespace is the key's, else the gateway's default; without either a name that only one namespace knows is
clear, and one that several know is refused as ambiguous. A key bound to a namespace sees nothing else: what it may not
use does not exist for it. A name never falls through to another model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from clara_gateway.routing.filters import Placement
from clara_gateway.routing.snapshot import FamilyView, NamespaceView, ServedBase, ServedVersion, Snapshot

_EXACT = re.compile(r"(?P<family>[a-z0-9][-a-z0-9]*)-(?P<version>[0-9]+\.[0-9]+\.[0-9]+)")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `bound`: the only namespace the key may see; None: all. `home`: where plain names live for the others.
    `families`: the only models the key may use; None: all, the base included."""

    key_id: str = "anonymous"
    bound: str | None = None
    home: str | None = None
    families: frozenset[str] | None = None

    def may_see(self, namespace: str) -> bool:
        return self.bound in (None, namespace)

    def may_use(self, family: str | None) -> bool:
        return self.families is None or family in self.families


@dataclass(frozen=True, slots=True)
class Target:
    """What answers: one version or the base. `placements` may be empty: known, but no engine can take it now."""

    namespace: str
    family: str | None
    version: str | None
    public_name: str
    placements: tuple[Placement, ...]


@dataclass(frozen=True, slots=True)
class Loading:
    """Known and planned: worth a bounded wait."""

    namespace: str
    family: str
    version: str
    public_name: str


@dataclass(frozen=True, slots=True)
class Refused:
    """No answer will come under this name."""

    status: int
    code: str
    message: str


Resolution = Target | Loading | Refused
_Found = ServedVersion | FamilyView | ServedBase


def resolve(snapshot: Snapshot, asked: str, caller: Caller) -> Resolution:
    """What `asked` means for this caller right now."""
    named, _, name = asked.rpartition("/")
    homes = [n for n in _namespaces(snapshot, named, caller) if _find(snapshot.namespaces[n], name, caller)]
    if not homes:
        return _unknown(asked)
    if len(homes) > 1:
        return _ambiguous(f"several namespaces serve '{asked}'; write for example '{homes[0]}/{name}'")
    found = _find(snapshot.namespaces[homes[0]], name, caller)
    if len(found) > 1:
        return _ambiguous(f"'{asked}' is both a base model and a family; ask for a version as family-X.Y.Z")
    return _meaning(asked, found[0])


def _namespaces(snapshot: Snapshot, named: str, caller: Caller) -> list[str]:
    wanted = named or caller.bound or caller.home
    return [n for n in snapshot.namespaces if caller.may_see(n) and wanted in (None, n)]


def _find(view: NamespaceView, name: str, caller: Caller) -> Sequence[_Found]:
    found: list[_Found] = []
    exact = _EXACT.fullmatch(name)
    if exact and caller.may_use(exact["family"]) and (family := view.families.get(exact["family"])):
        found += [v for v in (family.versions.get(exact["version"]),) if v]
    if name in view.families and caller.may_use(name):
        found.append(view.families[name])
    if name in view.bases and caller.may_use(None):
        found.append(view.bases[name])
    return found


def _meaning(asked: str, found: _Found) -> Resolution:
    if isinstance(found, ServedBase):
        return Target(found.namespace, None, None, found.name, found.placements)
    if isinstance(found, ServedVersion):
        return _version(asked, found)
    if found.alias:
        return _version(asked, found.alias)
    loading = next((v for v in found.versions.values() if v.state == "Loading"), None)
    return _version(asked, loading) if loading else _nothing_served(asked)


def _version(asked: str, v: ServedVersion) -> Resolution:
    if v.state == "Loading":
        return Loading(v.namespace, v.family, v.version, v.public_name)
    if v.state == "Serving":
        return Target(v.namespace, v.family, v.version, v.public_name, v.placements)
    if v.successor is None:
        return Refused(404, "model_not_found", f"The model '{asked}' was retired and has no successor. {_HINT}")
    successor = f"{v.family}-{v.successor}"
    return Refused(
        404, "model_superseded", f"The model '{asked}' was superseded by '{successor}'. Use that, or '{v.family}'."
    )


_HINT = "GET /v1/models lists the names you may use."


def _unknown(asked: str) -> Refused:
    return Refused(404, "model_not_found", f"The model '{asked}' does not exist or your key may not use it. {_HINT}")


def _nothing_served(asked: str) -> Refused:
    return Refused(404, "model_not_found", f"The family '{asked}' has no version in service. {_HINT}")


def _ambiguous(message: str) -> Refused:
    return Refused(400, "ambiguous_model", message[0].upper() + message[1:] + ".")
