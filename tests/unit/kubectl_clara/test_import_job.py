"""What `kubectl clara import` runs, and what it takes from its log."""

from __future__ import annotations

import json
from typing import Any

import pytest
from clara_api import labels
from clara_api.handoff.run import LISTED, RUN, ListRun
from clara_testing import make
from kubectl_clara.import_job import build, read_log


def account(prefix: str) -> dict[str, Any]:
    notes = {
        labels.TRAINER_IMAGE: "registry/clara-trainer:1",
        labels.ARTIFACT_PREFIX: prefix,
        labels.STORE_SECRET: "key",
    }
    return {"metadata": make.meta("clara-trainer", annotations=notes)}


def test_the_pod_reads_the_folder_of_its_own_namespace_with_the_namespaces_key():
    job, config = build(account("s3://clara"), "clara-import-1")
    run = RUN.validate_json(config["data"]["run.json"])
    assert isinstance(run, ListRun)
    assert run.adapters_uri == "s3://clara/adapters/recht"
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "key"}}]
    assert pod["automountServiceAccountToken"] is False


def test_a_volume_is_mounted_and_only_read():
    job, _ = build(account("volume://clara-artifacts"), "clara-import-1")
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["envFrom"] == []
    assert pod["volumes"][-1]["persistentVolumeClaim"] == {"claimName": "clara-artifacts", "readOnly": True}


def test_a_namespace_of_an_older_chart_is_refused():
    with pytest.raises(KeyError):
        build({"metadata": make.meta("clara-trainer", annotations={})}, "x")


def log_of(*lines: object, count: int) -> str:
    """A log: what was printed, between what Python and the trainer say, and the count at the end."""
    printed = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return "\n".join(
        ["Loading …", '{"level": "info", "message": "starts"}', *printed, json.dumps({"kind": LISTED, "count": count})]
    )


def test_only_adapters_are_taken_from_the_log_and_what_was_passed_over_is_told():
    warning = {"level": "warning", "message": "s3://x is no Adapter"}
    listing = read_log(log_of(make.adapter("1.1.0"), "[]", warning, make.adapter(), count=2), "recht")
    assert [a["metadata"]["name"] for a in listing.adapters] == ["steuerrecht-1.0.0", "steuerrecht-1.1.0"]
    assert listing.passed_over == ["s3://x is no Adapter"]


def test_what_the_pod_prints_becomes_no_more_than_an_adapter_that_nobody_approved():
    forged = make.adapter(approval={"decision": "Approved", "by": "admin", "reason": "x"}, exports=["x"])
    forged["metadata"] |= {
        "finalizers": ["x/y"],
        "annotations": {"clara.vcc.dev/base-uri": "s3://x", "other/note": "x"},
    }
    [taken] = read_log(log_of(forged, count=1), "recht").adapters
    assert taken["metadata"] == {
        "name": "steuerrecht-1.0.0", "namespace": "recht", "annotations": {"clara.vcc.dev/base-uri": "s3://x"},
    }  # fmt: skip
    assert set(taken["spec"]) == {"family", "version", "baseModel", "artifact"}
    assert set(taken) == {"apiVersion", "kind", "metadata", "spec"}


@pytest.mark.parametrize(
    "odd",
    [
        make.adapter() | {"metadata": {"name": "steuerrecht-1.0.0", "namespace": "finanzen"}},
        make.adapter() | {"apiVersion": "clara.vcc.dev/v1"},
        make.adapter(version="one"),
        {"kind": "Adapter"},
    ],
)
def test_an_odd_one_is_passed_over_and_the_others_are_taken(odd: dict[str, Any]):
    listing = read_log(log_of(odd, make.adapter("1.1.0"), count=2), "recht")
    assert [a["metadata"]["name"] for a in listing.adapters] == ["steuerrecht-1.1.0"]
    assert len(listing.passed_over) == 1


@pytest.mark.parametrize("log", ["", log_of(make.adapter(), count=2), json.dumps(make.adapter())])
def test_a_log_that_lost_lines_is_noticed(log: str):
    with pytest.raises(ValueError, match="it was cut"):
        read_log(log, "recht")


def test_of_two_artifacts_that_had_one_name_the_newer_is_taken():
    artifacts = [{"uri": f"s3://clara/{age}", "digest": "sha256:" + "a" * 64} for age in ("old", "new")]
    [taken] = read_log(log_of(*(make.adapter(artifact=a) for a in artifacts), count=2), "recht").adapters
    assert taken["spec"]["artifact"]["uri"] == "s3://clara/new"
