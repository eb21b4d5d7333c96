"""Every way to fail has a class, a code and a sentence; the message always fits."""

import errno
import json

import pytest
from clara_api.golden_dataset import Constraints, Sample, Scorer
from clara_api.handoff.outcome import EXIT_CODES, LIMIT_BYTES, Outcome, parse_outcome
from clara_trainer.outcome import Failure, Terminated, classify, exit_code, failed, fitting_message, write
from clara_trainer.scoring import result_of, summarize


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (Failure("DataInvalid", "x"), "DataInvalid"),
        (Terminated(), "Preempted"),
        (MemoryError(), "OutOfMemory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "OutOfMemory"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), "OutOfMemory"),
        (RuntimeError("shape mismatch"), "Bug"),
        (KeyError("x"), "Bug"),
    ],
)
def test_errors_have_classes_and_reserved_codes(error, failure):
    outcome = failed(error, ["INFO a line"])
    assert outcome.failure == failure
    assert exit_code(outcome) == EXIT_CODES[failure]
    assert outcome.log_tail == ["INFO a line"]


def test_a_full_scratch_disk_names_the_field_to_raise():
    assert "raise spec.scratch" in classify(OSError(errno.ENOSPC, "No space left on device", "/clara/scratch/x"))[1]


def test_the_message_written_is_the_message_read(tmp_path):
    outcome = failed(Failure("Diverged", "the loss became nan"), [f"INFO {'x' * 200}"] * 40)
    write(outcome, tmp_path / "log")
    text = (tmp_path / "log").read_text()
    assert len(text.encode()) <= LIMIT_BYTES
    assert parse_outcome(text).message == "the loss became nan"


def test_a_termination_log_that_cannot_be_written_is_not_a_second_failure(tmp_path):
    write(Outcome(result="Succeeded"), tmp_path / "missing" / "log")


def test_the_longest_evaluation_still_fits_into_the_message():
    wanted = Constraints(must_match=["ä" * 500])
    results = [
        result_of(
            Sample(id=f"{n:063d}", prompt="p", reference="r", constraints=wanted), "", [Scorer(name="exact")], None
        )
        for n in range(200)
    ]
    digest = "sha256:" + "a" * 64
    report = summarize(results, sample_pass=70, golden_digest=digest, report_uri="s3://" + "b" * 400, judge=None)
    decision = {"decision": "Approved", "by": "a" * 100, "reason": "ü" * 350, "at": "2026-01-01T00:00:00Z"}
    outcome = Outcome(result="Succeeded", message="m", report=report, recorded_decision=decision)
    text = fitting_message(outcome)
    assert len(text.encode()) <= LIMIT_BYTES
    assert json.loads(text)["report"]["samples"] == 200
