"""Scratch space that is too small is called so, also when the kubelet's SIGTERM is all that the pod sees."""

import pytest
from clara_trainer import room
from clara_trainer.outcome import Failure, Terminated
from clara_trainer.settings import Settings


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "weights").write_bytes(bytes(3 << 20))
    return Settings.from_env({"CLARA_SCRATCH_DIR": str(tmp_path), "CLARA_SCRATCH_BYTES": str(4 << 20)})


def test_a_pod_told_to_stop_over_its_scratch_space_says_so(settings):
    (settings.scratch / "unexpected").write_bytes(bytes(2 << 20))
    found = room.cause(Terminated("at step 7"), settings)
    assert isinstance(found, Failure)
    assert found.failure == "DiskFull"
    assert "6 MiB lay in its scratch space; spec.scratch gives 4 MiB; raise it" in found.message  # folders count, too


def test_a_pod_told_to_stop_within_its_scratch_space_was_moved(settings):
    told = Terminated("at step 7")
    assert room.cause(told, settings) is told


def test_other_errors_are_what_they_are(settings):
    (settings.scratch / "unexpected").write_bytes(bytes(2 << 20))
    error = Failure("Diverged", "the loss became nan")
    assert room.cause(error, settings) is error
