"""Bad input stops before anything is trained, says where and what to do, and harms nobody else."""

from __future__ import annotations

import json

import chain_names as names
import clara_chain as chain
import clara_install
import pytest
from conftest import RECHT

GOOD = [{"prompt": f"Frage {i}", "completion": f"Antwort {i}"} for i in range(40)]


def rows(name: str, lines: list[str]) -> None:
    """A ConfigMap with JSONL."""
    meta = {"name": name, "namespace": RECHT}
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"rows.jsonl": "\n".join(lines)}}
    clara_install.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))


def test_a_broken_line_is_named_and_the_repaired_file_trains_after_a_rerun(clara: chain.Base):
    lines = [json.dumps(row) for row in GOOD]
    rows("kaputt", [*lines[:16], '{"frage": "wo ist der prompt?"}', *lines[16:]])
    job = names.small_job("kaputt", clara, data=[{"configMap": {"name": "kaputt", "key": "rows.jsonl"}}])
    chain.apply(job)
    failed = chain.wait_for_reason("tj", "kaputt", RECHT, "Succeeded", "DataInvalid", seconds=180)
    message = chain.condition(failed, "Succeeded")["message"]
    assert "line 17 of rows.jsonl" in message
    assert "spec.rerun" in message
    assert chain.condition(failed, "Stalled")["status"] == "True"
    assert failed["status"]["recipeLocked"] is False
    assert failed["status"]["attempts"][0]["lastLogLines"] is not None

    rows("kaputt", lines)
    clara_install.kubectl("patch", "tj", "kaputt", "-n", RECHT, "--type", "merge", "-p", '{"spec": {"rerun": 1}}')
    done = chain.wait_for("tj", "kaputt", RECHT, "Succeeded", seconds=300)
    assert [a["reason"] for a in done["status"]["attempts"]] == ["DataInvalid", "Succeeded"]


def test_a_uri_outside_the_namespaces_prefixes_never_gets_a_pod(clara: chain.Base):
    chain.apply(names.small_job("fremd", clara, data=[{"uri": "s3://clara/adapters/finanzen/rows.jsonl"}]))
    refused = chain.wait_for_reason("tj", "fremd", RECHT, "Succeeded", "UriNotAllowed", seconds=20)
    assert "s3://clara/adapters/recht" in chain.condition(refused, "Succeeded")["message"]
    jobs = clara_install.kubectl("get", "jobs", "-n", RECHT, "-l", "clara.vcc.dev/training-job=fremd", "-o", "name")
    assert jobs == ""
    clara_install.kubectl("delete", "tj", "fremd", "-n", RECHT)


def test_a_locked_recipe_cannot_be_changed(clara: chain.Base):
    change = '{"spec": {"hyperparameters": {"rank": 8}}}'
    with pytest.raises(RuntimeError, match="locked"):
        clara_install.kubectl("patch", "tj", "kaputt", "-n", RECHT, "--type", "merge", "-p", change)
