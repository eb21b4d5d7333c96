"""The marker survives, the lock is held by one, and a port is taken only by who listens there."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_cluster import cluster
from local_cluster.machine import Marker, boot_id, only_one, read_marker, write_marker
from local_cluster.prerequisites import PACKAGES, go_version, listeners, missing_packages
from local_cluster.processes import Process, Processes
from local_cluster.settings import Settings
from local_cluster.steps import Problem

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 0100007F:1B9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   1: 0100007F:1B9F 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0
   2: 00000000000000000000000000000000:1B9E 00000000000000000000000000000000:0000 0A 00000000:00000000
"""


def test_a_marker_reads_back_as_written(tmp_path: Path):
    marker = Marker("/src/clara/.cluster", boot_id(), {"net/ipv4/ip_forward": "0"})
    write_marker(tmp_path, marker)
    assert read_marker(tmp_path) == marker
    assert marker.of_this_boot()
    assert marker.checkout == Path("/src/clara")


def test_a_damaged_marker_counts_as_none(tmp_path: Path):
    (tmp_path / "cluster.json").write_text('{"state":')
    assert read_marker(tmp_path) is None


def test_the_lock_leaves_no_file(tmp_path: Path):
    lock = tmp_path / "lock"
    with only_one(lock):
        assert lock.exists()
    assert not lock.exists()


def test_a_living_cluster_of_another_checkout_is_named_and_not_touched(tmp_path: Path, settings: Settings):
    settings = Settings(settings.source, settings.state, settings.cache, run=tmp_path / "run")
    write_marker(settings.run, Marker("/src/other/.cluster", boot_id()))
    processes = Processes(settings.run, settings.logs)
    processes.ensure(Process("etcd", ("sleep", "60"), healthy=lambda: True))
    try:
        with pytest.raises(Problem, match="the cluster of /src/other is running") as raised:
            cluster.clear_the_machine(settings)
        assert "make -C /src/other cluster-down" in raised.value.cure
        record = processes.record("etcd")
        assert record
        assert record.alive()
    finally:
        processes.stop("etcd")


def test_listeners_are_read_from_the_kernels_tables():
    assert listeners(TCP, 7070) == {"127.0.0.1", "::"}
    assert listeners(TCP, 7071) == set()  # a connection, nobody listening


def test_what_is_not_there_is_asked_for_by_its_package():
    assert missing_packages(exists=set(PACKAGES) - {"/usr/sbin/runc"}) == ["runc"]
    assert missing_packages(exists=PACKAGES) == []


def test_go_versions_are_compared_as_numbers():
    assert go_version("go version go1.26.8 linux/amd64") == (1, 26, 8)
    assert go_version("go version go1.9 linux/amd64") < (1, 26)
