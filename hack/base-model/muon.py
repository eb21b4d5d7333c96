"""Muon for the weight matrices: the optimizer that makes two minutes on two cores enough.

Momentum whose matrix is replaced by its nearest orthogonal one (five Newton-Schulz steps), after Keller Jordan 2024,
https://kellerjordan.github.io/posts/muon. At equal time on this model it beat AdamW by a quarter of a nat. PyTorch's
own Muon orthogonalises in bfloat16, which CPUs without matrix extensions only emulate; this one stays in float32.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch


class Muon:
    """Steps every given 2-D parameter in place; call `step` with the rate of the moment."""

    def __init__(self, matrices: Iterable[torch.nn.Parameter], momentum: float = 0.95) -> None:
        self._momentum = momentum
        self._state = [(matrix, torch.zeros_like(matrix)) for matrix in matrices]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Use and clear the gradients."""
        for matrix, average in self._state:
            assert matrix.grad is not None
            average.lerp_(matrix.grad, 1 - self._momentum)
            update = _orthogonal(matrix.grad.lerp(average, self._momentum))
            wide = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
            matrix.add_(update, alpha=-rate * wide)
            matrix.grad = None


def _orthogonal(gradient: torch.Tensor) -> torch.Tensor:
    """Newton-Schulz with Jordan's coefficients: singular values end up between about 0.7 and 1.2."""
    tall = gradient.shape[0] > gradient.shape[1]
    x = gradient.T if tall else gradient
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x
