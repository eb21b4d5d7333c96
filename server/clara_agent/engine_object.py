"""The agent's own Engine object, as the watch sees it. Used by `loop` through `Desired`."""

from __future__ import annotations

import logging
from typing import Any

from clara_api.engine import EngineObjectSpec
from clara_watch.reflector import Reflector
from pydantic import ValidationError

from clara_agent.status import Desired

log = logging.getLogger(__name__)


class EngineObject:
    """Parses the watched object once per change."""

    def __init__(self, reflector: Reflector, *, namespace: str, name: str) -> None:
        self._reflector = reflector
        self._key = (namespace, name)
        self._parsed_from: dict[str, Any] | None = None
        self._desired: Desired | None = None

    def desired(self) -> Desired | None:
        """The newest spec that can be read; the last one while the object is away or broken, None before the first."""
        item = self._reflector.objects.get(self._key)
        if item is not None and item is not self._parsed_from:
            self._parsed_from = item
            self._desired = read(item) or self._desired
        return self._desired


def read(item: dict[str, Any]) -> Desired | None:
    """Spec, generation and uid of an Engine object; None, and a log line, when the spec is invalid."""
    metadata = item["metadata"]
    try:
        spec = EngineObjectSpec.model_validate(item.get("spec") or {})
    except ValidationError as error:
        log.error("Engine %s cannot be read, the last good spec stays: %s", metadata["name"], error)
        return None
    return Desired(spec, int(metadata.get("generation", 0)), str(metadata.get("uid", "")))
