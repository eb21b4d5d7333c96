"""Observe and decide one ServingDeployment."""

from __future__ import annotations

from clara_api.serving_deployment import ServingDeploymentSpec, ServingDeploymentStatus

from clara_operator.serving_deployment.decide import decide
from clara_operator.serving_deployment.observe import observe
from clara_operator.subject import reconciler

reconcile = reconciler(ServingDeploymentSpec, ServingDeploymentStatus, observe, decide)
