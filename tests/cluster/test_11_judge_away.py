"""The judge is away: the evaluation waits and says so, nobody is approved meanwhile, and it comes by itself."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import clara_chain as chain
import pytest
from artifacts import bring, publish, read
from clara_install import environment
from clara_testing.judge import FakeJudge
from conftest import FINANZEN, RECHT

NAME = "steuerrecht-1.2.0"


@pytest.fixture(scope="module")
def judge(kasse: chain.Base) -> Iterator[FakeJudge]:
    """A double of a large judge model: real protocol, fixed grades. Not listening yet."""
    double = FakeJudge(str(urlsplit(environment()["CLARA_S3_ENDPOINT"]).hostname))
    yield double
    double.stop()


def golden(judge: FakeJudge) -> chain.Object:
    """Two questions that the judge grades."""
    samples = [
        {"id": f"q{i}", "prompt": q, "reference": "Am vierten Tag nach der Aufgabe zur Post, § 122 AO."}
        for i, q in enumerate(("Wann gilt der Bescheid als bekannt gegeben?", "Wann ist der Brief zugegangen?"))
    ]
    spec = {"family": "steuerrecht", "samples": samples, "judge": {"endpoint": judge.endpoint, "model": "richter"}}
    return chain.clara("GoldenDataset", "mit-richter", FINANZEN, spec | {"maxNewTokens": 48})


def test_an_evaluation_says_that_the_judge_is_away_and_who_it_is(kasse: chain.Base, judge: FakeJudge):
    chain.apply(golden(judge))
    artifact = publish(NAME, FINANZEN, *read("steuerrecht-1.0.0", RECHT))
    bring(NAME, FINANZEN, artifact, kasse, evaluation={"goldenDatasetRef": {"name": "mit-richter"}})
    found = chain.wait_for_reason("adp", NAME, FINANZEN, "Evaluated", "JudgeUnreachable", seconds=180)
    assert judge.endpoint in chain.condition(found, "Evaluated")["message"]
    assert chain.condition(found, "Approved")["status"] == "Unknown"
    chain.wait_for("gds", "mit-richter", FINANZEN, "JudgeReachable", status="False", seconds=30)


def test_it_goes_on_by_itself_when_the_judge_is_back(kasse: chain.Base, judge: FakeJudge):
    judge.start()
    done = chain.wait_for("adp", NAME, FINANZEN, seconds=300)
    assert done["status"]["evaluation"]["score"] == 100
    assert done["status"]["evaluation"]["judge"]["model"] == "richter"
    assert done["status"]["decision"]["reason"] == "ScoreAboveApprove"
    assert "by" not in done["status"]["decision"]
    chain.wait_for("gds", "mit-richter", FINANZEN, "JudgeReachable", seconds=30)
    assert judge.asked
