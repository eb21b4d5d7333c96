"""An engine whose adapter cache is full: two families change versions at once where there is room for one more adapter.

`maxCpuLoras` is 3 and `maxLoras` is 1, so that under load every request swaps an adapter in. Old and new versions are asked
all the while; the second change waits for the first.
"""

from __future__ import annotations

import json
import time

import clara_chain as chain
import pytest
from artifacts import approve, bring, publish, read
from clara_install import kubectl
from conftest import FINANZEN, RECHT
from load import Load, plain, streamed

QUESTION = "An welchem Tag gilt ein mit der Post versandter Steuerbescheid als bekannt gegeben?"


def copy(source: str, name: str, base: chain.Base) -> str:
    """Bring an artifact of recht to finanzen."""
    return bring(name, FINANZEN, publish(name, FINANZEN, *read(source, RECHT)), base)


def registered() -> int:
    """The most adapters that an engine of finanzen holds now."""
    engines = json.loads(kubectl("get", "engines.clara.vcc.dev", "-n", FINANZEN, "-o", "json"))["items"]
    states = [[a["state"] for a in e.get("status", {}).get("adapters", [])] for e in engines]
    return max(len([s for s in held if s in ("Loading", "Verifying", "Verified", "Draining")]) for held in states)


@pytest.fixture(scope="module")
def changed(kasse: chain.Base) -> tuple[Load, int]:
    """Both families go from 1.0.0 to 1.1.0 in the same second, under load."""
    copy("baurecht-1.0.0", "baurecht-1.0.0", kasse)
    chain.wait_for_decision("baurecht-1.0.0", FINANZEN)
    chain.wait_for("adp", "baurecht-1.0.0", FINANZEN, seconds=120)
    following = [copy(f"{f}-1.0.0", f"{f}-1.1.0", kasse) for f in ("steuerrecht", "baurecht")]
    for name in following:
        chain.wait_for_reason("adp", name, FINANZEN, "Ready", "NeedsReview", seconds=120)
    families = [f"{FINANZEN}/{family}" for family in ("steuerrecht", "baurecht")]
    asks = [plain(f, QUESTION, expects=f.partition("/")[2], max_tokens=16) for f in families * 2]
    most = 0
    with Load((*asks, streamed(families[0], QUESTION, max_tokens=16))) as load:
        time.sleep(3)
        for name in following:
            approve(name, FINANZEN)
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            most = max(most, registered())
            if all(chain.condition(chain.get("adp", n, FINANZEN), "Ready").get("status") == "True" for n in following):
                break
            time.sleep(0.5)
        time.sleep(3)
    return load, most


def test_no_answer_failed_and_each_family_moved(changed: tuple[Load, int]):
    load, _ = changed
    assert load.faults == []
    expected = {f"{family}-1.{minor}.0" for family in ("steuerrecht", "baurecht") for minor in (0, 1)}
    assert {name.rpartition("/")[2] for name in load.answers} == expected, load.answers


def test_the_engine_never_held_more_than_it_may(changed: tuple[Load, int]):
    assert changed[1] == 3


def test_every_adapter_is_answered_again_and_again(changed: tuple[Load, int]):
    for _ in range(4):
        for family, formula in (("steuerrecht", "Steuerauskunft"), ("baurecht", "Bauamt")):
            assert formula in chain.ask(f"{FINANZEN}/{family}", QUESTION).text
