"""What can go wrong with an adapter: temporary (try again later) or permanent (until its digest or the engine process changes).

Raised by `fetch`, `checks`, `vllm` and `probe`; `work` turns them into the adapter's next state. The reasons appear in
`Engine.status.adapters[].reason`.
"""

from __future__ import annotations

from clara_api.reasons import ARTIFACT_INVALID, BASE_MISMATCH, NOT_SERVABLE, STORE_UNREACHABLE

ARTIFACT_MISSING = "ArtifactMissing"  # the store answers, but a file of the artifact is not there
DIGEST_MISMATCH = "DigestMismatch"  # the bytes are other ones than the digest says
ENGINE_FULL = "EngineFull"  # maxCpuLoras adapters are registered; waits for one to leave
LOAD_REFUSED = "LoadRefused"  # vLLM does not list the adapter after loading it
NO_EFFECT = "NoEffect"  # loaded, and the output is the base's
WRONG_FINGERPRINT = "WrongFingerprint"  # loaded, and the effect is another one than recorded
PROBE_FAILED = "ProbeFailed"  # the measurement itself did not succeed

__all__ = [
    "ARTIFACT_INVALID",
    "ARTIFACT_MISSING",
    "BASE_MISMATCH",
    "DIGEST_MISMATCH",
    "ENGINE_FULL",
    "LOAD_REFUSED",
    "NOT_SERVABLE",
    "NO_EFFECT",
    "PROBE_FAILED",
    "STORE_UNREACHABLE",
    "WRONG_FINGERPRINT",
    "AdapterError",
    "Permanent",
    "Temporary",
]


class AdapterError(Exception):
    """Says why in one sentence; `reason` is one of the constants above."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Temporary(AdapterError):
    """May pass: back off and try again."""


class Permanent(AdapterError):
    """Trying again with the same bytes in the same engine process is pointless."""
