"""`python -m clara_trainer RUN.json`: parse what is asked, do it, write the outcome, exit with its class's code.

run.json ─ RUN.validate_json ─ one of train / reproduce / recover / evaluate / record / list ─ Outcome ─ termination log + exit code
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clara_api.handoff.outcome import Outcome
from clara_api.handoff.run import (
    RUN,
    RUN_FILE,
    AnyRun,
    EvaluationRun,
    ListRun,
    RecordRun,
    RecoverRun,
    ReproduceRun,
    TrainRun,
)

from clara_trainer import outcome as outcomes
from clara_trainer import room
from clara_trainer.logs import start_logging
from clara_trainer.objects import Objects
from clara_trainer.reporter import Reporter
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
        run = asked(arguments)
        log.info("%s %s/%s starts", run.kind, run.namespace, run.name)
        outcome = carry_out(run, settings)
    except BaseException as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end is decided; a late SIGTERM must not tear the message
        outcome = outcomes.failed(room.cause(error, settings), tail.lines())
        unknown = outcome.failure == "Bug"
        log.error("%s: %s", outcome.failure, outcome.message, exc_info=error if unknown else None)
    else:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        log.info("done: %s", outcome.message or outcome.result)
    outcomes.write(outcome, settings.termination_log)
    return outcomes.exit_code(outcome)


def carry_out(run: AnyRun, settings: Settings) -> Outcome:
    """Do what the run asks. Imported here, because a recovery must not wait for torch."""
    objects = Objects(settings.volume_root, patience=settings.store_patience)
    match run:
        case TrainRun():
            with reporting(objects) as reporter:
                from clara_trainer.train import train  # noqa: PLC0415

                return train(run, objects, settings, reporter)
        case ReproduceRun():
            with reporting(objects) as reporter:
                from clara_trainer.reproduce import reproduce  # noqa: PLC0415

                return reproduce(run, objects, settings, reporter)
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


@contextmanager
def reporting(objects: Objects) -> Iterator[Reporter]:
    """Tell the operator what the run does, also while the store makes it wait."""
    reporter = Reporter()
    reporter.say("starts")
    objects.on_wait = lambda uri: reporter.say("waits for the store")
    try:
        yield reporter
    finally:
        reporter.close()


def asked(arguments: list[str]) -> AnyRun:
    """The run: a file as pods have it, or `reproduce ARTIFACT-URI [--approximate]` as people type it."""
    if arguments[:1] != ["reproduce"]:
        return RUN.validate_json(Path(arguments[0] if arguments else RUN_FILE).read_bytes())
    parser = argparse.ArgumentParser(prog="clara_trainer reproduce", description=ReproduceRun.__doc__)
    parser.add_argument("artifact", help="folder of the artifact, or its manifest.json: s3://… or volume://…")
    parser.add_argument("--approximate", action="store_true", help="accept another machine; compare effects, not bits")
    given = parser.parse_args(arguments[1:])
    uri = given.artifact.removesuffix("/manifest.json")
    return ReproduceRun(namespace="-", name=uri.rsplit("/", 1)[-1], artifact_uri=uri, approximate=given.approximate)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
