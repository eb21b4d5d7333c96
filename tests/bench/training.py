"""What training costs beside a bare loop and beside trl: python tests/bench/training.py [ROUNDS]

One run, one thread, contenders in another order every round, each with a fresh copy of the same random model and the same
examples; medians are printed as the table of docs/benchmarks.md, every value goes to .cluster/bench/training.json. trl is a
peer, not a dependency: its pinned wheels are put into a folder of their own.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from clara_api.training_job import Hyperparameters, MemoryPlan
from clara_trainer import attention, memory, steps
from clara_trainer.batches import Layout, log_likelihood, supervised
from clara_trainer.checkpoints import Checkpoints
from clara_trainer.course import Course, optimizer_for
from clara_trainer.memory import Lengths
from clara_trainer.objects import Objects
from clara_trainer.stop import Stop
from clara_trainer.tokens import IGNORED, Example

ROOT = Path(__file__).parents[2]
TRL = ("trl==1.16.0", "datasets==5.2.0", "pyarrow==26.0.1", "multiprocess==0.70.19", "dill==0.4.1", "xxhash==4.1.0",
       "pandas==3.1.1", "python-dateutil==4.0.0", "pytz==2026.6", "tzdata==2026.6", "six==1.17.0", "fsspec==2026.9.0")  # fmt: skip
PEERS = ROOT / ".cluster/bench/peers"
RESULTS = ROOT / ".cluster/bench/training.json"
BATCH, MICRO, LONGEST, VOCAB = 64, 8, 1024, 4096
STEPS = 3  # measured; one more before them warms up


def model_of(seed: int = 0) -> Any:
    """A random Llama of 7 million parameters with a fresh adapter of rank 16 on every linear layer."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=256, intermediate_size=704, num_hidden_layers=6, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048, use_cache=False,
    )  # fmt: skip
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(LlamaForCausalLM(config), lora)


def lognormal(count: int, *, median_tokens: int = 120, sigma: float = 0.8, seed: int = 1) -> list[Example]:
    """Lengths as instruction data have them: many short, few long; the first 40 % of each is the prompt."""
    dice = random.Random(seed)
    made = []
    for _ in range(count):
        length = max(8, min(LONGEST, round(median_tokens * 2.718281828 ** dice.gauss(0, sigma))))
        ids = tuple(dice.randrange(5, VOCAB) for _ in range(length))
        labels = tuple(IGNORED if i < 0.4 * length else token for i, token in enumerate(ids))
        made.append(Example(ids, labels))
    return made


def equal_lengths(count: int, tokens: int = 128) -> list[Example]:
    """Rows that need no padding, all of them learned: what is left to differ is the loop itself."""
    dice = random.Random(2)
    rows = [tuple(dice.randrange(5, VOCAB) for _ in range(tokens)) for _ in range(count)]
    return [Example(ids, ids) for ids in rows]


def course(examples: Sequence[Example], *, packed: bool = True, micro: int | None = None) -> Course:
    """Clara's own steps over these examples."""
    parameters = Hyperparameters(rank=16, global_batch_size=BATCH, epochs=STEPS + 1, learning_rate=1e-4, warmup_ratio=0)
    model = model_of()
    chosen = attention.choose(model, examples, wanted=packed)
    mean = sum(len(example.ids) for example in examples) / len(examples)
    plan = memory.first_plan(parameters, mean, on_gpu=False)
    if micro is not None:
        plan = MemoryPlan(micro_batch_size=micro, accumulation=-(-BATCH // micro))
    optimizer = optimizer_for(model, 1e-4)
    return Course(model, optimizer, examples, (), parameters, plan, Layout(chosen, 0), torch.device("cpu"))


# -- contenders: each takes the examples and returns seconds per step, losses per step, computed and useful tokens -------------
def clara(examples: Sequence[Example], **cut: Any) -> dict[str, Any]:
    """steps.take_step."""
    made = course(examples, **cut)
    made.model.train()
    return timed(made, lambda step: steps.take_step(made, step, Stop()) or 0.0)


def timed(made: Course, take: Callable[[int], float]) -> dict[str, Any]:
    seconds, losses, computed, useful = [], [], 0, 0
    for step in range(STEPS + 1):
        began = time.perf_counter()
        losses.append(take(step))
        seconds.append(time.perf_counter() - began)
        chosen = made.chosen(step)
        computed += sum(made.layout.batch(one).computed for one in made.shares(chosen, step=step)[0].passes)
        useful += sum(len(example.ids) for example in chosen)
    return {"seconds": median(seconds[1:]), "losses": losses, "computed": computed, "useful": useful}


def bare(examples: Sequence[Example], **_: Any) -> dict[str, Any]:
    """What one would write by hand with transformers and peft: the model's own loss, micro-batches of MICRO."""
    made = course(examples, packed=False, micro=MICRO)
    model, optimizer = made.model, made.optimizer
    model.train()

    def take(step: int) -> float:
        chosen, total = made.chosen(step), 0.0
        divisor = supervised(chosen)
        for start in range(0, len(chosen), MICRO):
            ids = torch.tensor([example.ids for example in chosen[start : start + MICRO]])
            loss = model(input_ids=ids, labels=ids, num_items_in_batch=divisor).loss
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return total

    return timed(made, take)


def trl(examples: Sequence[Example], **_: Any) -> dict[str, Any]:
    """SFTTrainer without packing, on the same tokens and labels; checkpointing off and float32, as here."""
    import pyarrow
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Clock(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.seconds: list[float] = []
            self.losses: list[float] = []

        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.seconds.append(time.perf_counter() - self.began)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if "loss" in (logs or {}):
                self.losses.append(logs["loss"])

    clock = Clock()
    table = pyarrow.Table.from_pylist([{"input_ids": list(e.ids), "labels": list(e.labels)} for e in examples])
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder, per_device_train_batch_size=MICRO, gradient_accumulation_steps=BATCH // MICRO,
            max_steps=STEPS + 1, max_length=LONGEST, learning_rate=1e-4, gradient_checkpointing=False, bf16=False,
            use_cpu=True, save_strategy="no", report_to=[], logging_steps=1, disable_tqdm=True, packing=False,
            dataloader_pin_memory=False, remove_unused_columns=False, dataset_kwargs={"skip_prepare_dataset": True},
        )  # fmt: skip
        trainer = SFTTrainer(
            model=model_of(), args=config, train_dataset=Dataset(table, fingerprint="bench"), callbacks=[clock],
            processing_class=tokenizer(),
        )  # fmt: skip
        trainer.train()
    useful = sum(len(e.ids) for e in examples) * (STEPS + 1) * BATCH // len(examples)
    return {"seconds": median(clock.seconds[1:]), "losses": clock.losses, "computed": None, "useful": useful}


def tokenizer() -> Any:
    """trl asks for one; the tokens are made already."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({f"t{i}": i for i in range(VOCAB)}, unk_token="t0"))
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="t0", eos_token="t1", unk_token="t0")


def checkpoint_stall(examples: Sequence[Example]) -> dict[str, float]:
    """What a checkpoint takes from training: the copy of weights and moments, while the file is written beside it."""
    made = course(examples)
    made.model.train()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "claim").mkdir()
        checkpoints = Checkpoints(Objects(Path(folder)), "volume://claim/run", Path(folder) / "scratch", keep=2)
        taken = steps.Taken(step=1, total=made.total)
        plain, beside, copies = [], [], []
        for step in range(STEPS + 1):
            began = time.perf_counter()
            steps.take_step(made, 2 * step, Stop())
            plain.append(time.perf_counter() - began)
            began = time.perf_counter()
            checkpoints.save(steps.snapshot(made, taken))
            copies.append(time.perf_counter() - began)
            began = time.perf_counter()
            steps.take_step(made, 2 * step + 1, Stop())
            beside.append(time.perf_counter() - began)
            checkpoints.wait()
    return {"step": median(plain[1:]), "stall": median(copies[1:]), "beside": median(beside[1:])}


def peak_of_a_step(micro: int, twice: bool) -> dict[str, float]:
    """What a step needs at most, computed before it and measured after it; in a process of its own, because peaks never fall."""
    made = course(lognormal(BATCH * 2), micro=micro)
    made.plan = made.plan.model_copy(update={"gradient_checkpointing": twice})
    lengths = Lengths.of([len(e.ids) for e in made.training], [e.supervised for e in made.training])
    computed = memory.needed_bytes(made.model, made.plan, lengths, packed=made.layout.packed)
    computed -= memory.used_bytes(made.device)
    before = memory.peak_bytes(made.device)
    steps.take_step(made, 0, Stop())
    return {"computed": computed, "measured": memory.peak_bytes(made.device) - before}


def peaks() -> dict[str, dict[str, float]]:
    """By micro-batch."""
    found = {}
    for micro, twice in ((64, False), (16, False), (4, False), (16, True)):
        command = [sys.executable, __file__, "peak", str(micro), str(int(twice))]
        name = f"{micro} examples per pass" + (", gradient checkpointing" if twice else "")
        found[name] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def install_peers() -> None:
    """trl and what it needs besides the locked environment."""
    if not (PEERS / "trl").exists():
        uv = next(Path.home().glob(".cache/clara/uv-*/bin/uv"))
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", PEERS, "--no-deps", *TRL],
            check=True,
        )
    sys.path.append(str(PEERS))


def main(rounds: int) -> None:
    """Measure, print, write."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # CPU against CPU, also where a GPU is
    install_peers()
    torch.set_num_threads(1)
    mixed, even = lognormal(BATCH * 2), equal_lengths(BATCH * 2)
    contenders: dict[str, Callable[[], dict[str, Any]]] = {
        "clara": lambda: clara(mixed),
        "clara, padded": lambda: clara(mixed, packed=False, micro=MICRO),
        "trl": lambda: trl(mixed),
        "clara, equal lengths": lambda: clara(even, micro=MICRO),
        "bare loop, equal lengths": lambda: bare(even),
    }
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for number in range(rounds):
        names = list(contenders)
        random.Random(number).shuffle(names)
        for name in names:
            measured[name].append(contenders[name]())
            print(f"round {number + 1}: {name}: {measured[name][-1]['seconds']:.2f} s a step", flush=True)
    stall, memories = checkpoint_stall(even), peaks()
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"rounds": measured, "checkpoint": stall, "memory": memories}, indent=1))
    show(measured, stall, mixed)
    show_memory(memories)


def show(measured: dict[str, list[dict[str, Any]]], stall: dict[str, float], mixed: Sequence[Example]) -> None:
    """The table."""
    seconds = {name: median(r["seconds"] for r in rounds) for name, rounds in measured.items()}
    first = {name: rounds[0] for name, rounds in measured.items()}
    ours = first["clara"]
    loss = first_loss(mixed)
    print("\n| | examples per second | to trl | useful of computed tokens |\n|---|--:|--:|--:|")
    for name in ("trl", "clara, padded", "clara"):
        share = f"{first[name]['useful'] / first[name]['computed']:.3f}" if first[name]["computed"] else ""
        print(f"| {name} | {BATCH / seconds[name]:.1f} | {seconds['trl'] / seconds[name]:.2f} | {share} |")
    ratio = seconds["clara, equal lengths"] / seconds["bare loop, equal lengths"]
    print(f"\nstep time on equal lengths, clara / bare loop: {ratio:.3f}")
    print(f"loss of the first step: packed {ours['losses'][0]:.6f}, one example at a time {loss:.6f}")
    share = stall["stall"] / stall["step"]
    print(
        f"checkpoint: {stall['stall'] * 1000:.1f} ms of a {stall['step']:.2f} s step ({share:.1%} if saved at every step)"
    )
    print(f"a step while a checkpoint is written: {stall['beside'] / stall['step']:.3f} of one without")


def show_memory(found: dict[str, dict[str, float]]) -> None:
    """The second table."""
    print("\n| a step takes, besides what was there before | computed MiB | measured MiB | ratio |\n|---|--:|--:|--:|")
    for name, sizes in found.items():
        computed, peak = sizes["computed"], sizes["measured"]
        print(f"| {name} | {computed / 2**20:.0f} | {peak / 2**20:.0f} | {computed / peak:.2f} |")


@torch.inference_mode()
def first_loss(examples: Sequence[Example]) -> float:
    """Mean loss per supervised token of the first step's examples, each by itself."""
    from clara_trainer.batches import pad

    made = course(examples, packed=False)
    chosen = made.chosen(0)
    return sum(float(log_likelihood(made.model, pad([e], filler=0))) for e in chosen) / supervised(chosen)


if __name__ == "__main__":
    if sys.argv[1:2] == ["peak"]:
        print(json.dumps(peak_of_a_step(int(sys.argv[2]), bool(int(sys.argv[3])))))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
