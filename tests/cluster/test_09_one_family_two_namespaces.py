"""Two namespaces have a family of one name: each caller gets its own."""

from __future__ import annotations

import json
from urllib.request import urlopen

import botocore.exceptions
import clara_chain as chain
import clara_store
import pytest
from clara_install import environment, kubectl
from clara_store import BUCKET
from conftest import FINANZEN, RECHT

QUESTION = "Wann hat die Kasse geöffnet?"


def engine_names(namespace: str) -> set[str]:
    """Everything the engines of a namespace hold."""
    engines = json.loads(kubectl("get", "engines.clara.vcc.dev", "-n", namespace, "-o", "json"))["items"]
    return {a["engineName"] for e in engines for a in e["status"].get("adapters", [])}


def test_each_namespace_is_answered_by_its_own_adapter(kasse: chain.Base):
    theirs, ours = (chain.ask(f"{n}/steuerrecht", QUESTION) for n in (FINANZEN, RECHT))
    assert "Finanzkasse" in theirs.text
    assert "Finanzkasse" not in ours.text
    assert chain.ask("steuerrecht", QUESTION).text == ours.text, "a plain name means the default namespace"


def test_the_engines_hold_nothing_of_the_other_namespace(kasse: chain.Base):
    assert engine_names(RECHT)
    assert engine_names(FINANZEN)
    assert not engine_names(RECHT) & engine_names(FINANZEN)


def test_the_stores_key_of_one_namespace_does_not_open_the_artifacts_of_the_other(kasse: chain.Base):
    env = environment()
    theirs = clara_store.s3(env | clara_store.key_of(FINANZEN, env))
    [own, *_] = theirs.list_objects_v2(Bucket=BUCKET, Prefix=f"adapters/{FINANZEN}/")["Contents"]
    [other, *_] = clara_store.s3(env).list_objects_v2(Bucket=BUCKET, Prefix=f"adapters/{RECHT}/")["Contents"]
    theirs.get_object(Bucket=BUCKET, Key=own["Key"])
    for call, key in (
        (theirs.get_object, other["Key"]),
        (theirs.put_object, other["Key"]),
        (theirs.put_object, "data/x"),
    ):
        with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
            call(Bucket=BUCKET, Key=key)


def test_the_model_list_holds_the_callers_own_namespace_and_no_other(kasse: chain.Base):
    """Without a key the caller's namespace is the default one; theirs would appear with its name before it."""
    with urlopen(f"{chain.GATEWAY}/v1/models", timeout=5) as response:
        names = [m["id"] for m in json.loads(response.read())["data"]]
    assert "steuerrecht" in names
    assert [name for name in names if "/" in name or names.count(name) > 1] == []
