"""What the agent knows about one adapter, and how that is told in `Engine.status`. Pure.

`plan` reads it, `work` changes it. Verdicts belong to one vLLM process: `forgotten_by_engine` takes them back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from clara_api.engine import HeldAdapter, HeldState

from clara_agent.errors import AdapterError, Permanent

Doing = Literal["Fetching", "Loading", "Verifying", "Unloading", "Deleting"]

FIRST_PAUSE = 1.0  # seconds; doubles per failed attempt
LONGEST_PAUSE = 120.0
ATTEMPTS_UNTIL_FAILED = 3  # a temporary failure is a verdict from then on, and still retried


@dataclass(frozen=True, slots=True)
class Held:
    """One adapter. Times are of the monotonic clock, except `verified_at`. `done_at`: when the last step ended."""

    digest: str
    has_files: bool = False
    doing: Doing | None = None
    done_at: float = float("-inf")
    permanent: bool = False
    attempts: int = 0
    retry_at: float = 0.0
    draining_since: float | None = None
    quiet_scrapes: int = 0
    reason: str | None = None
    error: str | None = None
    verified_at: datetime | None = None
    cosine: float | None = None
    norm_ratio: float | None = None
    fetch_seconds: float | None = None
    load_seconds: float | None = None

    @property
    def has_failed(self) -> bool:
        """Whether the verdict is: does not work (at least for now)."""
        return self.permanent or self.attempts >= ATTEMPTS_UNTIL_FAILED

    @property
    def has_verdict(self) -> bool:
        """Verified or failed."""
        return self.verified_at is not None or self.has_failed

    def failed(self, error: AdapterError, now: float) -> Held:
        """After an unsuccessful step."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self.attempts, 16))
        return replace(
            self,
            doing=None,
            permanent=isinstance(error, Permanent),
            attempts=self.attempts + 1,
            retry_at=now + pause,
            reason=error.reason,
            error=str(error)[:4096],
            verified_at=None,
        )

    def succeeded(self) -> Held:
        """After a successful step: the failures before it no longer count."""
        return replace(self, doing=None, attempts=0, retry_at=0.0, reason=None, error=None)

    def noted(self, reason: str | None, message: str | None) -> Held:
        """Why it waits, without counting as a failure; None, None takes it back."""
        return replace(self, reason=reason, error=message)

    def forgotten_by_engine(self) -> Held:
        """The engine process is gone: files stay, every verdict and failure is void."""
        return replace(
            self,
            permanent=False,
            attempts=0,
            retry_at=0.0,
            quiet_scrapes=0,
            reason=None,
            error=None,
            verified_at=None,
            cosine=None,
            norm_ratio=None,
            load_seconds=None,
        )

    def scraped(self, *, active: bool, leaving: bool, now: float) -> Held:
        """After a look at vLLM's metrics: count quiet looks, note when leaving began."""
        since = (self.draining_since or now) if leaving else None
        return replace(self, quiet_scrapes=0 if active else self.quiet_scrapes + 1, draining_since=since)


def tell(name: str, held: Held) -> HeldAdapter:
    """The adapter as the status shows it."""
    return HeldAdapter(
        engine_name=name,
        digest=held.digest,
        state=state_of(held),
        verified_at=held.verified_at,
        cosine=held.cosine,
        norm_ratio=held.norm_ratio,
        fetch_seconds=held.fetch_seconds,
        load_seconds=held.load_seconds,
        reason=held.reason,
        error=held.error,
    )


def state_of(held: Held) -> HeldState:
    """One word for where it stands."""
    if held.draining_since is not None:
        return "Draining"
    if held.verified_at is not None:
        return "Verified"
    if held.has_failed:
        return "Failed"
    if held.doing in ("Fetching", "Loading", "Verifying"):
        return held.doing
    return "Pending"
