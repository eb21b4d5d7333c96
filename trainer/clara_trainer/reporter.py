"""Progress to the operator in KEP-2779's wire format (handoff/progress.py), from a thread that never holds training up.

The newest message wins: what could not be sent is replaced, not queued. Without an address (a run by hand) nothing is sent.
Called by train.py and steps.py; `Objects` tells it when the store makes the run wait.
"""

from __future__ import annotations

import json
import logging
import os
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from clara_api.handoff.progress import ENV_CA, ENV_TOKEN, ENV_URL

INTERVAL = 2.0  # seconds between two messages: people see a step within five
TIMEOUT = 5.0
LONGEST_VALUE = 64  # characters, by the wire format

log = logging.getLogger(__name__)
Value = str | int | float | None


class Reporter:
    """What is known of the run, sent while it changes."""

    def __init__(self, env: Mapping[str, str] = os.environ, *, interval: float | None = None) -> None:
        self._url = env.get(ENV_URL, "")
        self._ca = env.get(ENV_CA, "")
        self._token = Path(env.get(ENV_TOKEN, ""))
        self._interval = INTERVAL if interval is None else interval
        self._facts: dict[str, Value] = {}
        self._changed = threading.Event()
        self._ended = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        if self._url:
            self._thread.start()

    def say(self, phase: str | None = None, **facts: Value) -> None:
        """Remember these facts; None forgets one. `phase` is what the pod does now, in words."""
        if phase is not None:
            facts["phase"] = phase
        self._facts = {k: v for k, v in {**self._facts, **facts}.items() if v is not None}
        self._changed.set()

    def close(self) -> None:
        """Send what is left, then end."""
        self._ended.set()
        self._changed.set()
        if self._url:
            self._thread.join(TIMEOUT + 1)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._changed.wait()
            self._changed.clear()
            self._send(self._facts)
            self._ended.wait(self._interval)
        if self._changed.is_set():
            self._send(self._facts)

    def _send(self, facts: Mapping[str, Value]) -> None:
        try:
            request = urllib.request.Request(  # noqa: S310 - the operator's address, https
                self._url,
                data=message(facts),
                method="POST",
                headers={
                    "Authorization": f"Bearer {self._token.read_text(encoding='utf-8').strip()}",
                    "Content-Type": "application/json",
                },
            )
            context = ssl.create_default_context(cafile=self._ca or None) if self._url.startswith("https") else None
            with urllib.request.urlopen(request, timeout=TIMEOUT, context=context):  # noqa: S310
                pass
            self._failing = False
        except (OSError, ValueError) as error:  # no operator is no reason to stop; said once, not every two seconds
            if not self._failing:
                log.warning("progress cannot be reported (%s); training goes on", error)
            self._failing = True


def message(facts: Mapping[str, Value]) -> bytes:
    """The POST body. Percent and remaining time are the operator's to compute."""
    metrics = [{"name": name, "value": str(value)[:LONGEST_VALUE]} for name, value in facts.items()]
    now = datetime.now(UTC).isoformat()
    return json.dumps({"trainerStatus": {"lastUpdatedTime": now, "metrics": metrics}}).encode()
