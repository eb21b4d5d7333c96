"""What people read."""

from __future__ import annotations

from clara_testing import make
from kubectl_clara.show import doctor_lines, review_lines


def test_a_review_says_how_to_decide():
    status = {
        "decision": {"outcome": "NeedsReview", "message": "score 78.0 lies between"},
        "evaluation": {"samples": 24, "goldenDataset": "g", "passRate": 0.5, "reportUri": "s3://x"},
        "display": {"score": "78.0 [69.5, 86.5]"},
    }
    text = "\n".join(review_lines(make.adapter(status=status)))
    assert "78.0 [69.5, 86.5] on 24 samples of g" in text
    assert "kubectl clara approve steuerrecht-1.0.0" in text


def test_the_doctor_names_what_is_not_well_and_why():
    bad = make.training_job(
        status={"conditions": [{"type": "Succeeded", "status": "False", "reason": "DataInvalid", "message": "line 17"}]}
    )
    good = make.adapter(status={"conditions": [{"type": "Ready", "status": "True", "reason": "Served", "message": ""}]})
    assert doctor_lines([bad, good]) == ["TrainingJob recht/steuerrecht-2026-11: DataInvalid: line 17"]
    assert doctor_lines([good]) == ["all 1 objects are well"]


def test_an_object_nobody_looked_at_points_to_the_operator():
    assert "operator" in doctor_lines([make.training_job()])[0]
