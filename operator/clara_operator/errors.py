"""The two words of failure, temporary and permanent, and the edge where the API server's answers become one of them.

`runtime.api` raises ApiError, which is the server's own sentence; `act` translates it. The workers know only the two words:
a Temporary key is tried again soon, a Permanent one is told to the person who can cure it and tried again rarely.
"""

from __future__ import annotations

UNREACHABLE = 0  # the status of an ApiError that never got an answer

_WRONG_TYPE = "failed to create typed patch object"  # a server-side apply against the schema is answered with a 500
_TEMPORARY = {401, 404, 408, 409, 410, 429}  # and every 5xx


class ApiError(Exception):
    """What the API server (or the network before it) said."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after  # seconds, when the server asked for it


class Temporary(Exception):
    """It may work later. `delay` in seconds is the least to wait; None leaves it to the back-off."""

    def __init__(self, message: str, delay: float | None = None) -> None:
        super().__init__(message)
        self.delay = delay


class Permanent(Exception):
    """It will fail again until a person changes something; the message says what the API server objects to."""


class LeaseLost(Exception):
    """This process may not write any more: another replica may already be leading."""


def translated(error: ApiError, doing: str) -> Temporary | Permanent:
    """The same failure in our two words; raise it `from error`."""
    said = f"{doing}: {error.message or error.reason}"
    if _WRONG_TYPE in error.message:
        return Permanent(said)
    if error.status == UNREACHABLE or error.status >= 500 or error.status in _TEMPORARY:
        return Temporary(said, error.retry_after)
    return Permanent(said)
