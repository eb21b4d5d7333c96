"""One cluster, one base and warm engines for all scenarios.

`clara` installs the chart; `served` adds two families trained from the shipped data on two engines. `store_line` is the way of
a second tenant, finanzen, to the store; `kasse` is that tenant's one engine. Scenarios that break something put it back and
leave the served families Ready; each uses names of its own for what it makes. With CLARA_TESTS_REUSE=1 what an earlier run
trained stays: for working on one scenario.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import clara_chain as chain
import clara_install
import pytest
from clara_testing.line import Line

RECHT = "recht"
FINANZEN = "finanzen"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Scenarios in the order of their numbers; none may hang a run."""
    items.sort(key=lambda item: item.nodeid.split("::")[0])
    for item in items:
        item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def base() -> chain.Base:
    """The demo's base model, trained once and cached by digest."""
    return chain.make_base()


@pytest.fixture(scope="session")
def clara(base: chain.Base) -> chain.Base:
    """Clara installed, two tenants, base and data in the store, no custom resources left from an earlier run."""
    clara_install.install([RECHT, FINANZEN])
    chain.fill_store(base)
    for namespace in () if os.environ.get("CLARA_TESTS_REUSE") else (RECHT, FINANZEN):
        for kind in ("sdep", "adp", "tj", "gds"):
            clara_install.kubectl("delete", kind, "--all", "-n", namespace, "--wait", "--timeout=120s")
    return base


@pytest.fixture(scope="session")
def served(clara: chain.Base) -> chain.Base:
    """steuerrecht-1.0.0 and baurecht-1.0.0 trained, evaluated, approved and verified on two engines."""
    chain.apply(
        chain.golden("steuerrecht-golden-v1", RECHT),
        chain.golden("baurecht-golden-v1", RECHT),
        chain.serving_deployment("verwaltung", RECHT, ["steuerrecht", "baurecht"], clara),
        chain.training_job("steuerrecht-first", RECHT, "steuerrecht", ["steuerrecht-v1.jsonl"], clara),
        chain.training_job("baurecht-first", RECHT, "baurecht", ["baurecht-v1.jsonl", "baurecht-v1-faq.jsonl"], clara),
    )
    for family in ("steuerrecht", "baurecht"):
        chain.wait_for("tj", f"{family}-first", RECHT, "Succeeded", seconds=600)
        chain.wait_for_decision(f"{family}-1.0.0", RECHT)
    for family in ("steuerrecht", "baurecht"):
        chain.until(lambda f=family: in_service(f), f"{family} being served", 200)
    chain.wait_for("sdep", "verwaltung", RECHT, seconds=120)
    return clara


def in_service(family: str) -> bool | None:
    """Whether version 1.0.0 is served, or was in an earlier run with CLARA_TESTS_REUSE."""
    ready = chain.condition(chain.get("adp", f"{family}-1.0.0", RECHT), "Ready")
    return True if ready.get("reason") in ("Served", "Superseded") else None


@pytest.fixture(scope="session")
def store_line(clara: chain.Base) -> Iterator[Line]:
    """The namespace finanzen reaches the store over this line, and a test may cut it."""
    line = Line(clara_install.environment()["CLARA_S3_ENDPOINT"])
    tell_endpoint(line.url)
    yield line
    tell_endpoint(clara_install.environment()["CLARA_S3_ENDPOINT"])


def tell_endpoint(url: str) -> None:
    """Where pods of finanzen that start from now on find the store."""
    patch = json.dumps({"stringData": {"AWS_ENDPOINT_URL": url}})
    clara_install.kubectl("patch", "secret", "clara-store", "-n", FINANZEN, "--type=merge", "-p", patch)


@pytest.fixture(scope="session")
def kasse(served: chain.Base, store_line: Line) -> Iterator[chain.Base]:
    """One small engine in finanzen, for families that have the names of recht's."""
    sizes = {"replicas": 1, "maxLoras": 1, "maxCpuLoras": 3}
    chain.apply(chain.serving_deployment("kasse", FINANZEN, ["steuerrecht", "baurecht"], served, **sizes))
    yield served
    clara_install.kubectl("delete", "sdep,adp,tj,gds", "--all", "-n", FINANZEN, "--wait", "--timeout=120s")
