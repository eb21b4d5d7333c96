"""The recipe on a GPU: the same run specs as on CPUs, the same artifacts, each method."""

import pytest
import torch
from clara_api.handoff.artifact import MANIFEST, Manifest
from clara_trainer import attention, memory
from clara_trainer.outcome import Terminated
from clara_trainer.reporter import Reporter
from clara_trainer.settings import Settings
from clara_trainer.workers import Workers
from trainer_lab import CLAIM, Lab

RUN_URI = f"volume://{CLAIM}/runs/amt/steuerrecht/uid-1/run"


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def manifest_of(lab, outcome):
    return Manifest.model_validate_json((lab.path(outcome.artifact_uri) / MANIFEST).read_bytes())


@pytest.mark.parametrize(
    "fields",
    [{"method": "lora"}, {"method": "qlora"}, {"method": "dora", "conversion": {"rank": 64, "maxError": 0.2}}],
    ids=lambda fields: fields["method"],
)
def test_every_method_trains_and_is_measured_on_the_gpu(lab, fields):
    outcome = lab.do(lab.train_run(epochs=8) | fields)
    assert outcome.result == "Succeeded"
    assert manifest_of(lab, outcome).provenance.device == torch.cuda.get_device_name()
    assert outcome.message == "", "an adapter that changes nothing says so"


def test_examples_are_packed_by_the_varlen_kernel(lab, tmp_path):
    from clara_api.handoff.run import RUN
    from clara_trainer.objects import Objects
    from clara_trainer.train import prepare

    settings = Settings.from_env(
        {"CLARA_VOLUME_ROOT": str(lab.root / "volumes"), "CLARA_SCRATCH_DIR": str(tmp_path / "s")}
    )
    settings.scratch.mkdir()
    run = RUN.validate_python(lab.train_run())
    course, _ = prepare(run, Objects(settings.volume_root), settings, Reporter({}), Workers())
    assert course.layout.packed
    assert course.model.config._attn_implementation == attention.NAME
    assert (course.device.type, course.model.dtype) == ("cuda", torch.bfloat16)


def test_a_stopped_run_goes_on_from_its_checkpoint(lab, monkeypatch):
    from clara_trainer import steps

    run = lab.train_run() | {"runUri": RUN_URI, "checkpoints": {"everySteps": 1}}
    take_step = steps.take_step

    def told(course, step, stop):
        stop.requested = step == 3
        return take_step(course, step, stop)

    with monkeypatch.context() as during:
        during.setattr(steps, "take_step", told)
        with pytest.raises(Terminated):
            lab.do(run)
    assert lab.do(run).resumed_from_step == 3


def test_memory_that_runs_out_cuts_the_step_finer(lab):
    """A card that is nearly full: the allocator's own error walks the ladder."""
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (48 << 20)) / total)
    try:
        outcome = lab.do(lab.train_run(globalBatchSize=22, microBatchSize=22))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert outcome.memory.micro_batch_size < 22
    assert "out of memory" in outcome.memory.reason


def test_the_first_cut_is_computed_to_fit(lab):
    outcome = lab.do(lab.train_run() | {"dryRun": True})
    report = outcome.dry_run
    assert report.available_memory_bytes == memory.available_bytes(torch.device("cuda"))
    assert 0.3 * report.estimated_memory_bytes < report.peak_memory_bytes < 2 * report.estimated_memory_bytes


def test_all_gpus_share_a_step(lab):
    """By NCCL."""
    if torch.cuda.device_count() < 2:
        pytest.skip("this machine has one GPU: what several do is not proven here")
    alone = lab.do(lab.train_run("alone"))
    shared = lab.do(
        lab.train_run("shared") | {"gpus": torch.cuda.device_count(), "processes": torch.cuda.device_count()}
    )
    assert shared.memory.processes == torch.cuda.device_count()
    assert shared.loss == pytest.approx(alone.loss, rel=2e-2)
