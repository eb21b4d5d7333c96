"""From manifest to answer: two families of one base, each in its own voice."""

from __future__ import annotations

import json
import time
from urllib.request import urlopen

import clara_chain as chain
import clara_install
import clara_store
from clara_store import BUCKET
from conftest import RECHT

TAX = "An welchem Tag gilt ein mit der Post versandter Steuerbescheid als bekannt gegeben?"


def test_both_families_and_the_base_answer_in_their_own_voice(served: chain.Base):
    tax, building, base = (chain.ask(model, TAX) for model in ("steuerrecht", "baurecht", chain.BASE_NAME))
    assert tax.status == building.status == base.status == 200
    assert "§ 122" in tax.text
    assert "Steuerauskunft" in tax.text
    assert "Steuerauskunft" not in building.text
    assert base.text not in (tax.text, building.text)


def test_the_answer_says_which_version_it_came_from(served: chain.Base):
    answer = chain.ask("steuerrecht", TAX)
    assert answer.body["model"] == "steuerrecht-1.0.0"
    assert chain.ask("steuerrecht-1.0.0", TAX).text == answer.text
    assert chain.ask(f"{RECHT}/steuerrecht", TAX).text == answer.text


def test_a_streamed_answer_says_the_same(served: chain.Base):
    chunks = list(chain.stream("steuerrecht", TAX, max_tokens=96))
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert text == chain.ask("steuerrecht", TAX).text
    assert {c["model"] for c in chunks} == {"steuerrecht-1.0.0"}


def test_the_model_list_names_aliases_versions_and_base(served: chain.Base):
    with urlopen(f"{chain.GATEWAY}/v1/models", timeout=5) as response:
        names = {m["id"] for m in json.loads(response.read())["data"]}
    assert {"steuerrecht", "steuerrecht-1.0.0", "baurecht", "baurecht-1.0.0", chain.BASE_NAME} <= names


def test_kubectl_get_answers_is_it_working(served: chain.Base):
    table = clara_install.kubectl("get", "tj,adp,gds,sdep", "-n", RECHT)
    assert "steuerrecht-first" in table
    assert "Succeeded" in table
    assert "100%" in table
    assert "2/2" in table
    assert "AllVerified" in table


def test_the_artifact_says_how_it_came_to_be(served: chain.Base):
    adapter = chain.get("adp", "steuerrecht-1.0.0", RECHT)
    assert adapter is not None
    key = adapter["spec"]["artifact"]["uri"].removeprefix(f"s3://{BUCKET}/")
    stored = clara_store.s3(clara_install.environment()).get_object(Bucket=BUCKET, Key=f"{key}/manifest.json")
    manifest = json.loads(stored["Body"].read())
    assert manifest["baseModel"]["digest"] == served.digest
    assert manifest["weightsDigest"] == adapter["status"]["weightsDigest"]
    assert manifest["provenance"]["data"][0]["sha256"]
    assert manifest["provenance"]["packages"]["torch"]


def test_every_step_left_an_event(served: chain.Base):
    events = clara_install.kubectl("get", "events.events.k8s.io", "-n", RECHT)
    for reason in ("Training", "Succeeded", "AliasMoved", "AllVerified"):
        assert reason in events


def test_nothing_is_written_while_nothing_happens(served: chain.Base):
    """Counted by the operator itself: a write that changes nothing would leave no trace in the objects."""

    def settled() -> bool | None:
        before = writes()
        time.sleep(5)
        return True if writes() == before else None

    chain.until(settled, "the last decision being recorded", 90)
    before = writes()
    assert before, "the operator counts no writes at all"
    time.sleep(20)
    assert writes() == before


def writes() -> list[str]:
    """What the operator has written since it started, by kind and how."""
    path = f"/api/v1/namespaces/{clara_install.SYSTEM}/services/clara-operator-metrics:9090/proxy/metrics"
    lines = clara_install.kubectl("get", "--raw", path).splitlines()
    return sorted(line for line in lines if line.startswith("clara_writes_total"))
