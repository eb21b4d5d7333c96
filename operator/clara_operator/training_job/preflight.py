"""What can be known to fail before a pod exists: a checklist of named facts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from clara_api import reasons, servable
from clara_api.training_job import TrainingBase

from clara_operator.failures import Failure
from clara_operator.settings import Settings
from clara_operator.training_job.observe import Seen
from clara_operator.uri_policy import uri_refusal

Check = Callable[[Seen, Settings], Failure | None]


def a_uri_is_not_allowed(seen: Seen, settings: Settings) -> Failure | None:
    """The namespace may not use that place."""
    for where, uri in _named_uris(seen):
        message = uri_refusal(where, uri, seen.key.namespace, settings)
        if message:
            return Failure(reasons.URI_NOT_ALLOWED, message)
    return None


def the_start_adapter_cannot_be_continued(seen: Seen, settings: Settings) -> Failure | None:
    """startFrom names an Adapter that is missing, of another line, or not proven to be what it says."""
    if seen.spec.start_from is None:
        return None
    name, start = seen.spec.start_from.adapter_ref.name, seen.start
    asked = seen.spec.hyperparameters.rank
    if start is None:
        why = f"does not exist in namespace {seen.key.namespace}; apply it, or name another"
    elif start.family != seen.spec.family:
        why = f"is of family {start.family}, not {seen.spec.family}; name one of this family"
    elif start.base_digest != seen.spec.base_model.digest:
        why = f"was trained on the base {start.base_digest[:19]}…, not on {seen.spec.base_model.digest[:19]}…"
    elif not start.verified:
        why = f"is not verified (yet); 'kubectl describe adp {name}' says why. The run starts when it is"
    elif asked is not None and start.rank is not None and asked != start.rank:
        why = f"has rank {start.rank}, and spec.hyperparameters.rank asks for {asked}; leave it out"
    else:
        return None
    return Failure(reasons.START_ADAPTER_UNUSABLE, f"spec.startFrom: Adapter {name} {why}")


def engines_take_no_such_method(seen: Seen, settings: Settings) -> Failure | None:
    """The result could not be served, whatever its rank."""
    message = servable.method_problem(seen.spec.method, seen.spec.conversion)
    return Failure(reasons.NOT_SERVABLE, message) if message else None


def the_rank_is_above_what_engines_take(seen: Seen, settings: Settings) -> Failure | None:
    """The result could not be served."""
    field, rank = servable.published_rank(seen.effective.rank, seen.spec.conversion)
    if rank > servable.HIGHEST_RANK:
        return Failure(
            reasons.NOT_SERVABLE, f"{field} {rank} is above {servable.HIGHEST_RANK}, the most engines take; lower it"
        )
    tightest = min(seen.engines, key=lambda e: e.max_lora_rank, default=None)
    if tightest is None or rank <= tightest.max_lora_rank:
        return None
    room = servable.smallest_limit(rank)
    return Failure(
        reasons.NOT_SERVABLE,
        f"{field} {rank} is above engine.maxLoraRank {tightest.max_lora_rank} of ServingDeployment {tightest.name}, "
        f"which serves this family; lower the rank, or set maxLoraRank to {room} or more",
    )


CHECKS: tuple[Check, ...] = (
    a_uri_is_not_allowed,
    the_start_adapter_cannot_be_continued,
    engines_take_no_such_method,
    the_rank_is_above_what_engines_take,
)


def refusal(seen: Seen, settings: Settings) -> Failure | None:
    """The first fact that makes a pod pointless."""
    return next((found for check in CHECKS if (found := check(seen, settings))), None)


def _named_uris(seen: Seen) -> Iterator[tuple[str, str]]:
    """Where in the spec, and what; the artifact to continue is named through its Adapter."""
    yield from _places("spec.baseModel", seen.spec.base_model)
    for i, base in enumerate(seen.spec.fallback_base_models):
        yield from _places(f"spec.fallbackBaseModels[{i}]", base)
    yield from ((f"spec.data[{i}].uri", s.uri) for i, s in enumerate(seen.spec.data) if s.uri)
    if seen.start is not None:
        yield f"the artifact of Adapter {seen.start.name} (spec.startFrom)", seen.start.uri


def _places(where: str, base: TrainingBase) -> Iterator[tuple[str, str]]:
    yield f"{where}.uri", base.uri
    yield from ((f"{where}.mirrors[{i}]", uri) for i, uri in enumerate(base.mirrors))
