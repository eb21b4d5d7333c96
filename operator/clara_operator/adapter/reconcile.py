"""Observe and decide one Adapter."""

from __future__ import annotations

from clara_api.adapter import AdapterSpec, AdapterStatus

from clara_operator.adapter.decide import decide
from clara_operator.adapter.observe import observe
from clara_operator.subject import reconciler

reconcile = reconciler(AdapterSpec, AdapterStatus, observe, decide)
