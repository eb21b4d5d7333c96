"""EvaluationRun: verify the artifact, answer the golden prompts, score the answers, write the report.

    verify ─ adapter.json ─ recorded decision ─┬─ no golden set: done
                                               ├─ report for these digests exists: adopt it, compute nothing
                                               └─ fetch base ─ answer ─ (judge) ─ score ─ report.json

Called by `__main__`. Reports lie under artifact and golden digests, so the same question is never computed twice.
"""

from __future__ import annotations

import logging

import httpx
from clara_api.digests import canonical_json, sha256_digest
from clara_api.handoff.artifact import ADAPTER_OBJECT, report_path
from clara_api.handoff.eval_report import EvalReport, JudgeRecord, ReportSummary, SampleResult
from clara_api.handoff.outcome import Outcome
from clara_api.handoff.run import EvaluationRun
from pydantic import ValidationError

from clara_trainer import judge, manifests
from clara_trainer.objects import Objects
from clara_trainer.record import newest_decision
from clara_trainer.scoring import Grade, result_of, summarize
from clara_trainer.settings import Settings
from clara_trainer.verify import Verified, check_fits, verify

REPORT_LIMIT = 64 << 20  # bytes

log = logging.getLogger(__name__)


def evaluate(run: EvaluationRun, objects: Objects, settings: Settings) -> Outcome:
    """The whole run. Raises Failure with the class of what went wrong."""
    verified = verify(run, objects, settings.scratch / "adapter")
    keep_adapter_object(run, objects)
    report = None if run.golden_digest is None else find_report(run, run.golden_digest, objects)
    if run.golden_digest is not None and report is None:
        report = make_report(run, run.golden_digest, verified, objects, settings)
    return Outcome(
        result="Succeeded",
        message=_sentence(report),
        artifact_uri=run.artifact_uri,
        artifact_digest=run.artifact_digest,
        weights_digest=verified.manifest.weights_digest,
        rank=verified.manifest.rank,
        report=report,
        recorded_decision=newest_decision(objects, run.artifact_uri),
    )


def keep_adapter_object(run: EvaluationRun, objects: Objects) -> None:
    """Write adapter.json beside the manifest once: what to apply again when every object is lost."""
    uri = manifests.below(run.artifact_uri, ADAPTER_OBJECT)
    if objects.size(uri) is None:
        objects.write(canonical_json(run.adapter_object) + b"\n", uri)


def find_report(run: EvaluationRun, golden_digest: str, objects: Objects) -> ReportSummary | None:
    """The summary of an earlier report for the same artifact and golden set; None when there is none to trust."""
    uri = manifests.below(run.artifact_uri, report_path(golden_digest))
    data = objects.read(uri, limit=REPORT_LIMIT)
    if data is None:
        return None
    try:
        report = EvalReport.model_validate_json(data)
    except ValidationError as error:
        log.warning("%s is no report (%d errors); it is made again", uri, error.error_count())
        return None
    if (report.artifact_digest, report.golden_digest) != (run.artifact_digest, golden_digest):
        log.warning("%s belongs to another artifact or golden set; it is made again", uri)
        return None
    found = {"adopted": True, "report_uri": uri, "report_digest": sha256_digest(data)}
    return report.summary.model_copy(update=found)


def make_report(
    run: EvaluationRun, golden_digest: str, verified: Verified, objects: Objects, settings: Settings
) -> ReportSummary:
    """Answer, score, write report.json; returns its summary with the report's digest."""
    from clara_trainer.answers import answer_all  # noqa: PLC0415 - torch, which an adopted report does not need
    from clara_trainer.base_model import fetch_base  # noqa: PLC0415

    base = fetch_base(run.base_model, objects, settings.scratch / "base")
    check_fits(verified.folder, base)
    answers = answer_all(run.samples, base=base, adapter=verified.folder, max_new_tokens=run.max_new_tokens)
    grades = ask_judge(run, answers, settings)
    results = [
        result_of(sample, answer, run.scorers, grade)
        for sample, answer, grade in zip(run.samples, answers, grades, strict=True)
    ]
    judged_by = judge.record_of(run.judge) if run.judge else None
    uri = manifests.below(run.artifact_uri, report_path(golden_digest))
    summary = summarize(
        results,
        sample_pass=run.thresholds.sample_pass,
        golden_digest=golden_digest,
        report_uri=uri,
        judge=judged_by,
    )
    report = _report(run, golden_digest, summary, judged_by, results)
    objects.write(report.to_bytes(), uri)
    return summary.model_copy(update={"report_digest": report.digest()})


def ask_judge(run: EvaluationRun, answers: list[str], settings: Settings) -> list[Grade | None]:
    """The judge's grades, or None for each sample when the golden set has no judge."""
    if run.judge is None:
        return [None] * len(answers)
    token = None
    if settings.judge_token_file.is_file():
        token = settings.judge_token_file.read_text(encoding="utf-8").strip()
    with httpx.Client(trust_env=False) as client:
        return list(judge.Panel(run.judge, client, token=token).grade_all(run.samples, answers))


def _report(
    run: EvaluationRun,
    golden_digest: str,
    summary: ReportSummary,
    judged_by: JudgeRecord | None,
    results: list[SampleResult],
) -> EvalReport:
    return EvalReport(
        family=run.family,
        version=run.version,
        artifact_digest=run.artifact_digest,
        golden_name=run.golden_name or "",
        golden_digest=golden_digest,
        base_model_digest=run.base_model.digest,
        summary=summary,
        judge=judged_by,
        samples=results,
    )


def _sentence(report: ReportSummary | None) -> str:
    if report is None:
        return "the artifact was verified; no golden dataset is named"
    how = "adopted from the store" if report.adopted else "computed"
    score = "none" if report.score is None else f"{report.score:.1f}"
    return f"score {score} over {report.samples} samples, {how}"
