"""How much of the card a step uses: an 8B-shaped random base, rank 16, packed passes of 4,096 tokens; the figures are printed."""

import random
import time

import pytest
import torch
from clara_api.training_job import Hyperparameters, MemoryPlan
from clara_trainer import attention, memory, steps
from clara_trainer.batches import Layout
from clara_trainer.course import Course, optimizer_for
from clara_trainer.stop import Stop
from clara_trainer.tokens import Example

EIGHT_BILLION = {
    "vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192,
}  # fmt: skip
TOKENS, EXAMPLE, BATCH = 4096, 512, 32  # tokens per pass and per example, examples per step
WARM, MEASURED = 2, 4  # steps


def model_of(shape, device):
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    with torch.device(device):
        base = LlamaForCausalLM(LlamaConfig(use_cache=False, **shape)).to(torch.bfloat16)
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(base, lora)


def course_of(shape, device):
    dice = random.Random(1)
    rows = [tuple(dice.randrange(5, shape["vocab_size"]) for _ in range(EXAMPLE)) for _ in range(BATCH * 2)]
    learned = [Example(ids, ids) for ids in rows]
    model = model_of(shape, device)
    packed = attention.choose(model, learned[:4], wanted=True)
    parameters = Hyperparameters(global_batch_size=BATCH, epochs=WARM + MEASURED, learning_rate=1e-4)
    plan = MemoryPlan(micro_batch_size=TOKENS // EXAMPLE, accumulation=BATCH * EXAMPLE // TOKENS)
    layout = Layout(packed, 0)
    return Course(
        model, optimizer_for(model, 1e-4), learned, (), parameters, plan, layout, torch.device(device), start="speed"
    )


def matmul_rate(size=8192, times=10):
    """FLOP/s of a bfloat16 matrix product, in the same call as what it is compared with."""
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(times):
        a @ b
    torch.cuda.synchronize()
    return 2 * size**3 * times / (time.perf_counter() - began)


def seconds_per_step(course):
    for step in range(WARM):
        steps.take_step(course, step, Stop())
    torch.cuda.synchronize()
    began = time.perf_counter()
    for step in range(WARM, WARM + MEASURED):
        steps.take_step(course, step, Stop())
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / MEASURED


@pytest.fixture(scope="module")
def course():
    if torch.cuda.get_device_properties(0).total_memory < 40 << 30:
        pytest.fail("an 8B-shaped base with packed 4,096 tokens needs a card of 40 GiB or more")
    return course_of(EIGHT_BILLION, "cuda")


def test_a_step_uses_most_of_what_the_matrix_units_give(course):
    seconds, rate = seconds_per_step(course), matmul_rate()
    tokens = BATCH * EXAMPLE
    share = memory.flops_per_token(course.model) * tokens / seconds / rate
    print(f"\n{tokens / seconds:,.0f} tokens/s, {share:.2f} of {rate / 1e12:.0f} TFLOP/s (goal 0.65)")
    assert course.layout.packed
    assert share >= 0.65


def test_peak_memory_is_weights_and_live_activations(course):
    torch.cuda.reset_peak_memory_stats()
    steps.take_step(course, 0, Stop())
    weights = sum(p.numel() * p.element_size() for p in course.model.parameters())
    adapter = sum(p.numel() for p in course.model.parameters() if p.requires_grad)
    needed = weights + memory.MOMENTS * adapter + memory.pass_bytes(course.model, TOKENS, TOKENS)
    peak = torch.cuda.max_memory_allocated()
    print(f"\npeak {peak / 2**30:.1f} GiB, weights and live activations {needed / 2**30:.1f} GiB: {peak / needed:.2f}")
    assert 0.6 * needed < peak <= 1.15 * needed
