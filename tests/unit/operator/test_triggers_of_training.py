"""Who is looked at when a slot may be free, or when what refused a job has changed."""

from __future__ import annotations

from typing import Any

import pytest
from clara_operator.plan import Key, Manifest
from clara_operator.triggers import keys_for
from clara_testing import make
from clara_testing.make import NS

LINE = {"observedGeneration": 1, "queuePosition": 1}


def waiting(name: str = "waits") -> Manifest:
    return make.training_job(name, status=LINE)


def woken(kind: str, old: Manifest | None, new: Manifest | None, *others: Manifest) -> set[str]:
    keys = keys_for(kind, old, new, make.cluster(waiting(), make.training_job("idle"), *others))
    return {k.name for k in keys if k.kind == "TrainingJob"}


def train(**changes: Any) -> Manifest:
    return make.job("busy", run_digest="r", **changes)


@pytest.mark.parametrize(
    "after", [train(finished="Failed"), train(suspended=True), None], ids=["ends", "stops", "goes"]
)
def test_whoever_waits_is_looked_at_when_a_train_job_gives_its_slot_back(after: Manifest | None):
    assert woken("Job", train(), after) == {"waits", "busy"}


def test_a_job_that_only_moves_on_wakes_its_owner_alone():
    moved = train()
    moved["status"]["active"] = 1
    assert woken("Job", train(), moved) == {"busy"}
    cleaned_up = train(finished="Failed")
    cleaned_up["status"]["failed"] = 1
    assert woken("Job", train(finished="Failed"), cleaned_up) == {"busy"}
    recovery = make.job("busy", "recover", run_digest="r")
    assert woken("Job", recovery, make.job("busy", "recover", run_digest="r", finished="Complete")) == {"busy"}


@pytest.mark.parametrize(
    "change",
    [{"suspend": True}, {"queue": {"priority": 5}}],
)
def test_a_change_of_the_order_is_told_to_all_who_wait(change: dict[str, Any]):
    assert woken("TrainingJob", make.training_job("x"), make.training_job("x", **change)) == {"x", "waits"}
    assert woken("TrainingJob", make.training_job("x"), None) == {"x", "waits"}


def test_progress_of_one_wakes_nobody_else():
    before = make.training_job("x", status=LINE | {"progress": {"step": 1}})
    after = make.training_job("x", status=LINE | {"queuePosition": 2, "progress": {"step": 2}})
    assert woken("TrainingJob", before, after) == {"x"}


def test_a_job_is_looked_at_when_the_adapter_it_continues_changes():
    start = {"adapterRef": {"name": "steuerrecht-1.0.0"}}
    job = make.training_job("next", startFrom=start)
    assert woken("Adapter", make.adapter(), make.adapter(status={}), job) == {"next"}


def test_open_jobs_of_a_family_are_looked_at_when_its_engines_change():
    before, after = make.serving_deployment(), make.serving_deployment(engine={"maxLoraRank": 128})
    done = make.training_job("done", status={"observedGeneration": 1, "adapterRef": {"name": "steuerrecht-1.0.0"}})
    other = make.training_job("other", family="baurecht")
    assert woken("ServingDeployment", before, after, done, other) == {"waits", "idle"}
    keys = keys_for("ServingDeployment", before, after, make.cluster())
    assert keys == {Key("ServingDeployment", NS, "verwaltung")}
