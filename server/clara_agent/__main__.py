"""`python -m clara_agent run | fetch-base | drain`: the sidecar, the init container, vLLM's preStop hook."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from datetime import UTC, datetime

from pydantic import ValidationError

USAGE = "usage: python -m clara_agent run | fetch-base | drain"
EXIT_USAGE = 2


class JsonLines(logging.Formatter):
    """One JSON object per line, as the other programs log."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def main(arguments: list[str]) -> int:
    """Pick the program; each imports only what it needs, the hook has to be quick."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        match arguments:
            case ["run"]:
                from clara_agent.settings import AgentSettings  # noqa: PLC0415
                from clara_agent.sidecar import run  # noqa: PLC0415

                return asyncio.run(run(AgentSettings()))
            case ["fetch-base"]:
                from clara_agent.base import fetch_base  # noqa: PLC0415
                from clara_agent.settings import FetchBaseSettings  # noqa: PLC0415

                return fetch_base(FetchBaseSettings())
            case ["drain"]:
                from clara_agent.hook import drain  # noqa: PLC0415
                from clara_agent.settings import DrainSettings  # noqa: PLC0415

                return drain(DrainSettings())
    except ValidationError as error:
        logging.error("the environment is not complete: %s", error)
        return EXIT_USAGE
    print(USAGE, file=sys.stderr)
    return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
