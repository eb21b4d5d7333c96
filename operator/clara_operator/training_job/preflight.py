"""What can be known to fail before a pod exists: a checklist of named facts. Pure."""

from __future__ import annotations

from collections.abc import Callable

from clara_api import reasons
from clara_api.profiles import effective

from clara_operator.settings import Settings
from clara_operator.training_job.observe import Seen
from clara_operator.training_job.retry import Failure
from clara_operator.uri_policy import uri_refusal

Check = Callable[[Seen, Settings], Failure | None]


def a_uri_is_not_allowed(seen: Seen, settings: Settings) -> Failure | None:
    """The namespace may not use that place."""
    named = [("baseModel.uri", seen.spec.base_model.uri)]
    named += [(f"data[{i}].uri", s.uri) for i, s in enumerate(seen.spec.data) if s.uri]
    for where, uri in named:
        message = uri_refusal(f"spec.{where}", uri, seen.key.namespace, settings)
        if message:
            return Failure(reasons.URI_NOT_ALLOWED, message)
    return None


def the_rank_is_above_what_engines_take(seen: Seen, settings: Settings) -> Failure | None:
    """The result could not be served."""
    rank, limit = effective(seen.spec.profile, seen.spec.hyperparameters).rank, seen.max_lora_rank
    if limit is None or rank <= limit:
        return None
    return Failure(
        reasons.NOT_SERVABLE,
        f"hyperparameters.rank {rank} is above engine.maxLoraRank {limit} of ServingDeployment {seen.max_lora_rank_of}, "
        "which serves this family; lower the rank or raise maxLoraRank",
    )


CHECKS: tuple[Check, ...] = (
    a_uri_is_not_allowed,
    the_rank_is_above_what_engines_take,
)


def refusal(seen: Seen, settings: Settings) -> Failure | None:
    """The first fact that makes a pod pointless."""
    return next((found for check in CHECKS if (found := check(seen, settings))), None)
