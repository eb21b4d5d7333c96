"""The Lua script of the chart tells Argo CD what the table of situations in clara_api.lifecycle says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from clara_api.kinds import KINDS
from clara_api.lifecycle import Situation, top_conditions

SCRIPT = Path(__file__).resolve().parents[3] / "helm/clara/files/argocd/health.lua"
TABLE = {
    Situation.IN_PROGRESS: "Progressing",
    Situation.DONE: "Healthy",
    Situation.WAITS_PERSON: "Suspended",
    Situation.FAILED: "Degraded",
    Situation.SUPERSEDED: "Healthy",
    Situation.DEGRADED: "Degraded",
}
REASONS = {
    Situation.IN_PROGRESS: "Evaluating",
    Situation.DONE: "AllVerified",
    Situation.WAITS_PERSON: "NeedsReview",
    Situation.FAILED: "DataInvalid",
    Situation.SUPERSEDED: "Superseded",
    Situation.DEGRADED: "EnginesFailing",
}


@pytest.fixture(scope="session")
def lua() -> str:
    found = shutil.which("lua5.4") or shutil.which("lua5.3") or shutil.which("lua")
    if not found:
        pytest.fail("there is no Lua: apt-get install lua5.4")
    return found


def table(value):
    """A Python value as Lua source."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{table(k)}] = {table(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(table(v) for v in value) + "}"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    return str(value)


def health(lua, obj):
    program = (
        f"obj = {table(obj)}\n"
        f"local h = (function()\n{SCRIPT.read_text()}\nend)()\n"
        "io.write(h.status, '|', h.message or '')"
    )
    done = subprocess.run([lua, "-"], input=program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("|", 1)


def live(conditions, *, generation=2, observed=2):
    wire = [c.wire() for c in conditions]
    return {"metadata": {"generation": generation}, "status": {"observedGeneration": observed, "conditions": wire}}


@pytest.mark.parametrize("top", ["Ready", "Succeeded"])
@pytest.mark.parametrize("situation", Situation, ids=lambda s: s.name)
def test_every_row_of_the_table_of_situations_has_its_health(lua, situation, top):
    conditions = top_conditions(top, situation, REASONS[situation], "3 of 4", generation=2)
    status, message = health(lua, live(conditions))
    assert status == TABLE[situation]
    assert message == f"{REASONS[situation]}: 3 of 4"


def test_an_object_nobody_has_looked_at_is_progressing(lua):
    assert health(lua, {"metadata": {"generation": 1}})[0] == "Progressing"
    assert health(lua, {"metadata": {"generation": 1}, "status": {"observedGeneration": -1}})[0] == "Progressing"


def test_the_health_of_an_older_generation_is_not_believed(lua):
    done = top_conditions("Ready", Situation.DONE, "AllVerified", "", generation=1)
    assert health(lua, live(done, generation=2, observed=1))[0] == "Progressing"


def test_an_unexpected_false_is_never_called_healthy(lua):
    odd = top_conditions("Ready", Situation.SUPERSEDED, "DataInvalid", "", generation=2)
    assert health(lua, live(odd))[0] == "Degraded"


def test_the_config_map_has_an_entry_per_kind_with_exactly_this_script(everything):
    (found,) = [o for o in everything if o["metadata"]["name"] == "clara-argocd-health"]
    kinds = {k.kind for k in KINDS if k.categories}
    assert set(found["data"]) == {f"resource.customizations.health.clara.vcc.dev_{kind}" for kind in kinds}
    assert {text.strip() for text in found["data"].values()} == {SCRIPT.read_text().strip()}
