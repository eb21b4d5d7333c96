"""Logs as one JSON object per line on standard output. Called once by `__main__.py`."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

ACCESS = "clara_gateway.access"


class JsonLine(logging.Formatter):
    """Time, level, logger and message; the access log's message is already an object and is merged in."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        head = {"time": at, "level": record.levelname.lower(), "logger": record.name}
        if record.name == ACCESS:
            return f"{json.dumps(head)[:-1]}, {record.getMessage()[1:]}"
        line = {**head, "message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_json_lines() -> None:
    """Send every log of this process through `JsonLine`; what it does not print is not looked up for every line."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLine())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
