"""Approval is RBAC: the right person, under the own name; proven with people on a real API server."""

from __future__ import annotations

from typing import Any

import pytest
from chart.people import OPERATOR, TENANT, adapter, approval, patch


@pytest.fixture(scope="module")
def waiting(policed: Any) -> str:
    policed.create(adapter("recht-1.0.0"), user=OPERATOR)
    return "recht-1.0.0"


def test_a_user_without_the_right_cannot_approve_and_is_told_which_right(policed, waiting):
    said = policed.refusal(*patch(waiting, "bert", {"approval": approval("bert")}))
    assert "user bert may not decide: it needs the verb update on adapters/approval" in said
    assert "clara-reviewer" in said


def test_a_reviewer_cannot_approve_in_another_name_and_is_told_the_own(policed, waiting):
    said = policed.refusal(*patch(waiting, "anna", {"approval": approval("chief")}))
    assert "spec.approval.by must be your own user name: write anna" in said


def test_nobody_smuggles_an_approval_in_with_a_new_adapter(policed):
    said = policed.refusal("create", "--as=dora", "-f", "-", stdin=adapter("recht-9.0.0", approval=approval("dora")))
    assert "user dora may not decide" in said


def test_not_even_the_operator_approves(policed):
    said = policed.refusal(
        "create", f"--as={OPERATOR}", "-f", "-", stdin=adapter("recht-9.0.1", approval=approval(OPERATOR))
    )
    assert "may not decide" in said


def test_the_right_person_approves_and_nobody_else_takes_it_back(policed, waiting):
    policed.kubectl(*patch(waiting, "anna", {"approval": approval("anna")}))
    assert "user bert may not decide" in policed.refusal(*patch(waiting, "bert", {"approval": None}))
    policed.kubectl("label", "adp", waiting, "-n", TENANT, "--as=bert", "note=seen")
    policed.kubectl(*patch(waiting, "anna", {"approval": None}))
