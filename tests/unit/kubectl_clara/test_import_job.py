"""What `kubectl clara import` runs, and what it takes from its log."""

from __future__ import annotations

import json
from typing import Any

import pytest
from clara_api import labels
from clara_api.handoff.run import RUN, ListRun
from clara_testing import make
from kubectl_clara.import_job import adapters_in, build


def account(prefix: str) -> dict[str, Any]:
    notes = {
        labels.TRAINER_IMAGE: "registry/clara-trainer:1",
        labels.ARTIFACT_PREFIX: prefix,
        labels.STORE_SECRET: "key",
    }
    return {"metadata": make.meta("clara-trainer", annotations=notes)}


def test_the_pod_reads_the_folder_of_its_own_namespace_with_the_namespaces_key():
    config, job = build(account("s3://clara"), "clara-import-1")
    run = RUN.validate_json(config["data"]["run.json"])
    assert isinstance(run, ListRun)
    assert run.adapters_uri == "s3://clara/adapters/recht"
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "key"}}]
    assert pod["automountServiceAccountToken"] is False


def test_a_volume_is_mounted_and_only_read():
    _, job = build(account("volume://clara-artifacts"), "clara-import-1")
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["envFrom"] == []
    assert pod["volumes"][-1]["persistentVolumeClaim"] == {"claimName": "clara-artifacts", "readOnly": True}


def test_a_namespace_of_an_older_chart_is_refused():
    with pytest.raises(KeyError):
        build({"metadata": make.meta("clara-trainer", annotations={})}, "x")


def test_only_adapters_are_taken_from_the_log():
    log = "\n".join(
        ["Loading …", '{"message": "starts"}', "[]", json.dumps(make.adapter("1.1.0")), json.dumps(make.adapter())]
    )
    assert [a["metadata"]["name"] for a in adapters_in(log)] == ["steuerrecht-1.0.0", "steuerrecht-1.1.0"]


def test_of_two_artifacts_that_had_one_name_the_newer_is_taken():
    old, new = (make.adapter(artifact={"uri": f"s3://clara/{age}", "digest": "x"}) for age in ("old", "new"))
    [taken] = adapters_in("\n".join([json.dumps(old), json.dumps(new)]))
    assert taken["spec"]["artifact"]["uri"] == "s3://clara/new"
