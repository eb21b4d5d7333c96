"""Is the demo's task one that the small base can learn? Print held-out scores of base, good and bad adapters.

    python spike.py [--seeds 42,1,2] [--only steuerrecht-v1,...] [--set epochs=4 --set learningRate=4e-3 ...] [--show]

Trains with Clara's own recipe (trainer/clara_trainer: rows, validation split, LoRA, all steps) and the hyperparameters
of the demo (hack/clara_chain.py), answers the golden prompts greedily and scores them with Clara's own scorers. The
numbers in examples/demo/data/README.md and the thresholds of the golden sets come from here.
"""

from __future__ import annotations

import argparse
import logging
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml
from clara_api.digests import json_digest
from clara_api.golden_dataset import GoldenDatasetSpec
from clara_api.handoff.run import TrainRun
from clara_api.training_job import Hyperparameters, TrainingBase
from clara_chain import HYPERPARAMETERS
from clara_trainer import base_model, data, machine, methods, steps, train
from clara_trainer.answers import BATCH, generate, prompt_of
from clara_trainer.checkpoints import Checkpoints
from clara_trainer.curate import curate
from clara_trainer.objects import Objects
from clara_trainer.reporter import Reporter
from clara_trainer.scoring import result_of
from clara_trainer.stop import Stop
from clara_trainer.workers import Workers

HERE = Path(__file__).resolve().parent
DEMO = HERE.parents[1] / "examples" / "demo"
SETS = {
    "steuerrecht-v1": ["steuerrecht-v1"],
    "steuerrecht-v2": ["steuerrecht-v2"],
    "steuerrecht-spoiled": ["steuerrecht-spoiled"],
    "baurecht-v1": ["baurecht-v1", "baurecht-v1-faq"],
}
FAMILIES = ("steuerrecht", "baurecht")
VALIDATION = 0.05  # as hack/clara_chain.py says


def main() -> None:
    """Make or find the base, score it, then train and score one adapter after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--base", type=Path, help="a base model's folder (default: make or find it)")
    parser.add_argument("--seeds", default="42,1,2")
    parser.add_argument("--only", default=",".join(SETS))
    parser.add_argument("--set", action="append", default=[], help="another value of a hyperparameter, NAME=VALUE")
    parser.add_argument("--show", action="store_true", help="print every answer")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    base = options.base or _made()
    own: dict[str, Any] = dict(pair.split("=", 1) for pair in options.set)
    tokenizer = base_model.load_tokenizer(base)
    golden = {family: _golden(family) for family in FAMILIES}

    _report("base", base_model.load_model(base), tokenizer, golden, options.show)
    for name in filter(None, options.only.split(",")):
        for seed in map(int, options.seeds.split(",")):
            parameters = Hyperparameters.model_validate(HYPERPARAMETERS | own | {"seed": seed})
            _report(f"{name} seed {seed}", _trained(base, tokenizer, name, parameters), tokenizer, golden, options.show)


def _made() -> Path:
    made = subprocess.run([sys.executable, HERE / "make_base.py"], check=True, stdout=subprocess.PIPE, text=True)
    return Path(made.stdout.split()[-1])


def _trained(base: Path, tokenizer: Any, name: str, parameters: Hyperparameters) -> Any:
    """The steps of clara_trainer.train.train between fetching and publishing."""
    paths = [DEMO / "data" / f"{file}.jsonl" for file in SETS[name]]
    files = data.read([data.SourceFile(path.name, path, None, 1.0) for path in paths])
    run = _run(name, parameters)
    examples = curate(files, run, tokenizer)
    machine.make_deterministic(parameters.seed, machine.threads())
    model = methods.adapt(methods.load(base, run.method), run, None)
    course = train.course_of(model, tokenizer, examples, run, Workers())
    with tempfile.TemporaryDirectory() as scratch:
        nowhere = Checkpoints(Objects(Path(scratch)), "", Path(scratch), keep=1)
        taken = steps.take_all(course, nowhere, Reporter({}), Stop(), every=course.total)
    validation = math.nan if taken.validation_loss is None else taken.validation_loss
    print(
        f"{name} seed {parameters.seed}: {taken.step} steps over {len(examples.training)} rows"
        f" in {taken.seconds:.0f} s, validation loss {validation:.3f}",
        flush=True,
    )
    return course.model.eval()


def _run(name: str, parameters: Hyperparameters) -> TrainRun:
    """What curating asks of a run; nothing is fetched or published."""
    return TrainRun(
        namespace="demo",
        name=name,
        uid=name,
        attempt=1,
        family=name.partition("-")[0],
        base_model=TrainingBase(name="tiny-de", uri="volume://demo/base", digest=json_digest(name)),
        hyperparameters=parameters,
        data=[],
        validation_fraction=VALIDATION,
        artifact_uri=f"volume://demo/{name}",
    )


def _golden(family: str) -> GoldenDatasetSpec:
    manifest = yaml.safe_load((DEMO / "golden" / f"{family}-golden-v1.yaml").read_text(encoding="utf-8"))
    return GoldenDatasetSpec.model_validate(manifest["spec"])


def _report(name: str, model: Any, tokenizer: Any, golden: dict[str, GoldenDatasetSpec], show: bool) -> None:
    """A line per family; and every answer with --show, else what the adapter's own family got wrong."""
    for family, spec in golden.items():
        results = []
        answers = _answers(model, tokenizer, spec)
        for sample in spec.samples:
            result = result_of(sample, answers[sample.id], spec.scorers, None)
            results.append(result)
            own = name.startswith(family) and "spoiled" not in name
            if show or (own and (result.score or 0) < spec.thresholds.sample_pass):
                print(f"    {result.id} {result.score:.0f}: {result.prompt} -> {result.answer}")
        score = mean(result.score or 0 for result in results)
        broken = sum(bool(result.failed_constraints) for result in results)
        print(f"{name:28} on {family:12} score {score:5.1f}  samples that break a constraint {broken:2}", flush=True)


def _answers(model: Any, tokenizer: Any, spec: GoldenDatasetSpec) -> dict[str, str]:
    """Sample id -> answer, generated in batches as clara_trainer.answers does."""
    tokenizer.padding_side = "left"
    samples = sorted(spec.samples, key=lambda sample: len(prompt_of(sample, tokenizer)))
    found: dict[str, str] = {}
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        said = generate(model, tokenizer, [prompt_of(sample, tokenizer) for sample in batch], spec.max_new_tokens)
        found |= {sample.id: text for sample, text in zip(batch, said, strict=True)}
    return found


if __name__ == "__main__":
    main()
