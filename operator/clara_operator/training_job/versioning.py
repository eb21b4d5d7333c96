"""Which version a finished run becomes. Pure.

patch = same recipe and sources (more rows), minor = recipe or sources changed, major = another base model.
"""

from __future__ import annotations

from clara_api import versions
from clara_api.versions import Bump

from clara_operator.training_job.observe import Seen
from clara_operator.training_job.recipe import recipe_digest, sources_digest


def choose_version(seen: Seen, base_digest: str) -> str | None:
    """X.Y.Z for the new Adapter of that base; None when spec.version forces one that another run has taken."""
    wanted = seen.spec.version
    existing = [v.version for v in seen.versions]
    if wanted in ("auto", "patch", "minor", "major"):
        return versions.next_version(existing, _bump(seen, base_digest) if wanted == "auto" else wanted)  # type: ignore[arg-type]
    taken = next((v for v in seen.versions if v.version == wanted), None)
    return None if taken is not None and taken.job_uid != seen.uid else wanted


def _bump(seen: Seen, base_digest: str) -> Bump:
    if not seen.versions:
        return "minor"
    newest = max(seen.versions, key=lambda v: versions.version_key(v.version))
    if newest.base_digest != base_digest:
        return "major"
    same_recipe = newest.recipe_digest == recipe_digest(seen.spec)
    same_sources = newest.sources_digest == sources_digest(seen.spec)
    return "patch" if same_recipe and same_sources else "minor"
