"""`python -m clara_trainer RUN.json`: parse what is asked, do it, write the outcome, exit with its class's code.

run.json ─ RUN.validate_json ─ one of train / recover / evaluate / record / list ─ Outcome ─ termination log + exit code
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

from clara_api.handoff.outcome import Outcome
from clara_api.handoff.run import RUN, RUN_FILE, AnyRun, EvaluationRun, ListRun, RecordRun, RecoverRun, TrainRun

from clara_trainer import outcome as outcomes
from clara_trainer.logs import start_logging
from clara_trainer.objects import Objects
from clara_trainer.settings import Settings, from_process

log = logging.getLogger("clara_trainer")


def main(arguments: list[str]) -> int:
    """Run once; returns the exit code."""
    # First of all: as PID 1 of its container the process would otherwise ignore SIGTERM while it imports torch.
    signal.signal(signal.SIGTERM, outcomes.on_sigterm)
    tail = start_logging()
    settings = from_process()
    try:
        settings.prepare_process(os.environ)
        run = RUN.validate_json(Path(arguments[0] if arguments else RUN_FILE).read_bytes())
        log.info("%s %s/%s starts", run.kind, run.namespace, run.name)
        outcome = carry_out(run, settings)
    except BaseException as error:
        outcome = outcomes.failed(error, tail.lines())
        unknown = outcome.failure == "Bug"
        log.error("%s: %s", outcome.failure, outcome.message, exc_info=error if unknown else None)
    else:
        log.info("done: %s", outcome.message or outcome.result)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end is decided; a late SIGTERM must not tear the message
    outcomes.write(outcome, settings.termination_log)
    return outcomes.exit_code(outcome)


def carry_out(run: AnyRun, settings: Settings) -> Outcome:
    """Do what the run asks. Imported here, because a recovery must not wait for torch."""
    objects = Objects(settings.volume_root, patience=settings.store_patience)
    match run:
        case TrainRun():
            from clara_trainer.train import train  # noqa: PLC0415

            return train(run, objects, settings)
        case RecoverRun():
            from clara_trainer.recover import recover  # noqa: PLC0415

            return recover(run, objects)
        case EvaluationRun():
            from clara_trainer.evaluate import evaluate  # noqa: PLC0415

            return evaluate(run, objects, settings)
        case RecordRun():
            from clara_trainer.record import record  # noqa: PLC0415

            return record(run, objects)
        case ListRun():
            from clara_trainer.inventory import list_adapters  # noqa: PLC0415

            return list_adapters(run, objects)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
