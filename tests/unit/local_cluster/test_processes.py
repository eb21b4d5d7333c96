"""Background processes are recognised by more than their pid, and started again only when they changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from local_cluster.processes import Process, Processes, Record, start_time
from local_cluster.steps import Problem

SLEEP = Process("sleep", ("sleep", "60"), healthy=lambda: True)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    started = Processes(tmp_path / "run", tmp_path / "logs")
    yield started
    started.stop("sleep")


def test_a_running_process_is_kept(processes: Processes):
    processes.ensure(SLEEP)
    first = processes.record("sleep")
    processes.ensure(SLEEP)
    assert processes.record("sleep") == first
    assert processes.up_to_date(SLEEP)


def test_a_changed_command_line_restarts_it(processes: Processes):
    processes.ensure(SLEEP)
    first = processes.record("sleep")
    processes.ensure(replace(SLEEP, argv=("sleep", "61")))
    assert processes.record("sleep") != first
    assert first is not None
    assert not first.alive()


def test_a_changed_file_makes_it_out_of_date(processes: Processes, tmp_path: Path):
    config = tmp_path / "config"
    config.write_text("one")
    process = replace(SLEEP, reads=(config,))
    processes.ensure(process)
    config.write_text("two")
    assert not processes.up_to_date(process)


def test_a_reused_pid_is_not_ours():
    mine = start_time(os.getpid())
    assert mine is not None
    assert Record("me", os.getpid(), mine, "").alive()
    assert not Record("me", os.getpid(), mine - 1, "").alive()


def test_a_process_that_ends_at_once_shows_its_last_words(processes: Processes):
    failing = Process("sleep", ("sh", "-c", "echo no disk; exit 1"), healthy=lambda: False)
    with pytest.raises(Problem, match="no disk"):
        processes.ensure(failing)


def test_a_half_written_record_counts_as_none(processes: Processes):
    processes.records.mkdir(parents=True)
    (processes.records / "sleep.json").write_text('{"name": "sl')
    assert processes.record("sleep") is None
