"""One JSON object per line on stderr, and the last few lines kept for the outcome. Set up by `__main__`."""

from __future__ import annotations

import json
import logging
import time
from collections import deque

TAIL_LINES = 12
TAIL_LINE_CHARS = 240


class JsonFormatter(logging.Formatter):
    """{"time", "level", "logger", "message", …fields}; a traceback goes into "error"."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class Tail(logging.Handler):
    """Keeps the last lines as plain text: what a person sees in status.attempts when the pod is gone."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record; of an exception its last line."""
        text = f"{record.levelname} {record.getMessage()}"
        if record.exc_info and record.exc_info[0] is not None:
            text += f": {record.exc_info[0].__name__}: {record.exc_info[1]}"
        self._lines.append(text[:TAIL_LINE_CHARS])

    def lines(self) -> list[str]:
        """Oldest first."""
        return list(self._lines)


def start_logging() -> Tail:
    """Send everything, also warnings and the libraries' lines, through the JSON formatter; returns the tail."""
    tail = Tail()
    stderr = logging.StreamHandler()
    stderr.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[stderr, tail], force=True)
    logging.captureWarnings(True)
    for chatty in ("httpx", "httpcore", "botocore", "urllib3"):  # one line per request, headers at debug
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return tail
