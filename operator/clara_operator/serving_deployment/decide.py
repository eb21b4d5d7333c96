"""What to do for one ServingDeployment. Pure; called by reconcile with a frozen snapshot.

Engine pods come from one Deployment; each pod has an Engine object that says what it should hold. The gateway reads Engines
and routes by itself: serving goes on while the operator is down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from clara_api import labels, versions
from clara_api.serving_deployment import ServingDeploymentSpec

from clara_operator.plan import Apply, Plan
from clara_operator.serving_deployment import build
from clara_operator.serving_deployment.engine_args import refused_argument
from clara_operator.serving_deployment.observe import Seen
from clara_operator.serving_deployment.rollout import adapters_for, plan_family, routes_for
from clara_operator.serving_deployment.status import Facts, Refusal, with_status
from clara_operator.settings import Settings
from clara_operator.uri_policy import uri_refusal

Check = Callable[[Seen, Settings], Refusal | None]


def a_flag_is_refused(seen: Seen, settings: Settings) -> Refusal | None:
    """extraArgs holds something that would break a promise."""
    message = refused_argument(seen.spec)
    return Refusal("ExtraArgRefused", message) if message else None


def a_range_cannot_be_read(seen: Seen, settings: Settings) -> Refusal | None:
    """families[].versions is no npm range."""
    message = _range_error(seen.spec)
    return Refusal("NoApprovedVersion", message) if message else None


def the_base_uri_is_not_allowed(seen: Seen, settings: Settings) -> Refusal | None:
    """The namespace may not use that place."""
    message = uri_refusal("spec.baseModel.uri", seen.spec.base_model.uri, seen.key.namespace, settings)
    return Refusal("UriNotAllowed", message) if message else None


CHECKS: tuple[Check, ...] = (a_flag_is_refused, a_range_cannot_be_read, the_base_uri_is_not_allowed)


def decide(seen: Seen, settings: Settings, now: datetime) -> Plan:
    """One pass: the Deployment, every Engine, the routes."""
    refusal = next((found for check in CHECKS if (found := check(seen, settings))), None)
    if refusal is not None:
        return with_status(seen, Facts(routes=list(seen.status.routes), refusal=refusal), now)
    families = [plan_family(seen, selector) for selector in seen.spec.families]
    engines = tuple(
        Apply(build.build_engine(seen, pod, adapters_for(seen, pod, families), settings)) for pod in seen.live
    )
    deployment, pending = _deployment(seen, settings)
    budget = Apply(build.build_disruption_budget(seen))
    facts = Facts(routes=routes_for(seen, families), families=families, update_pending=pending)
    return replace(with_status(seen, facts, now), apply=(*deployment, budget, *engines))


def _deployment(seen: Seen, settings: Settings) -> tuple[tuple[Apply, ...], bool]:
    """The Deployment if it must change, and whether a newer template waits for the next change of spec.engine.

    An operator upgrade alone restarts nothing (updatePolicy OnSpecChange): the template is applied again only when the spec
    it was made from changed. The number of replicas has a field manager of its own, so scaling leaves the template alone.
    """
    wanted = build.build_deployment(seen, settings)
    scale = Apply(build.build_replicas(seen), field_manager="clara-scale")
    live = seen.deployment
    if live is None:
        return (Apply(wanted), scale), False
    notes, new = live["metadata"].get("annotations") or {}, wanted["metadata"]["annotations"]
    scaled = (live.get("spec") or {}).get("replicas") == seen.spec.engine.replicas
    same_spec = notes.get(labels.SPEC_DIGEST) == new[labels.SPEC_DIGEST]
    same_template = notes.get(labels.TEMPLATE_DIGEST) == new[labels.TEMPLATE_DIGEST]
    keeps = same_spec and (same_template or seen.spec.engine.update_policy == "OnSpecChange")
    writes = (() if keeps else (Apply(wanted),)) + (() if scaled else (scale,))
    return writes, keeps and not same_template


def _range_error(spec: ServingDeploymentSpec) -> str | None:
    for family in spec.families:
        error = versions.range_error(family.versions)
        if error:
            return f"spec.families[{family.name}].versions: {error}"
    return None
