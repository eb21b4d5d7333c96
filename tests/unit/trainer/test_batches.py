"""How a step is cut, packed and padded; the loss is the same in every way."""

import time

import pytest
import torch
from clara_trainer import attention
from clara_trainer.batches import Layout, cut, log_likelihood, pack, pad, passes, supervised
from clara_trainer.tokens import IGNORED, Example
from hypothesis import given
from hypothesis import strategies as st
from training_bench import adapter, examples, tiny_model

ROWS = st.lists(st.integers(1, 500), min_size=1, max_size=40)


@given(lengths=ROWS, most=st.integers(1, 12), processes=st.integers(1, 5))
@pytest.mark.parametrize("packed", [True, False])
def test_every_example_is_in_exactly_one_pass_and_no_pass_is_larger_than_asked(packed, lengths, most, processes):
    made = [Example((n,) * length, (n,) * length) for n, length in enumerate(lengths)]
    dealt = Layout(packed, 0).deal(made, most, processes)
    found = [one for passes in dealt for one in passes]
    assert len(dealt) == processes
    assert sorted(example.ids[0] for one in found for example in one) == list(range(len(lengths)))
    assert all(0 < len(one) <= most for one in found)


@given(lengths=st.lists(st.integers(1, 500), min_size=12, max_size=40), processes=st.integers(2, 4))
@pytest.mark.parametrize("packed", [True, False])
def test_no_process_has_much_more_to_do_than_another(packed, lengths, processes):
    made = [Example((1,) * length, (1,) * length) for length in lengths]
    dealt = Layout(packed, 0).deal(made, len(made), processes)
    work = [sum(len(example.ids) for one in passes for example in one) for passes in dealt]
    assert max(work) - min(work) <= max(lengths)


@given(count=st.integers(1, 200), most=st.integers(1, 30), processes=st.integers(1, 9))
def test_packed_passes_are_as_few_as_fit_and_as_many_for_each_process(count, most, processes):
    found = passes(count, most, processes)
    assert found == count or (found % processes == 0 and found * most >= count)


def test_ten_thousand_rows_are_cut_in_a_moment():
    began = time.perf_counter()
    cut([n % 700 + 1 for n in range(10_000)], 10_000, 1)
    assert time.perf_counter() - began < 1


def test_packed_groups_are_about_equally_long():
    lengths = [500, 10, 490, 20, 30, 480]
    assert sorted(sum(lengths[i] for i in group) for group in cut(lengths, 3, 2)) == [510, 510, 510]


def test_padding_is_neither_attended_to_nor_learned():
    batch = pad([Example((5, 6), (IGNORED, 6)), Example((7, 8, 9), (IGNORED, 8, 9))], filler=0)
    assert batch.input_ids.tolist() == [[5, 6, 0], [7, 8, 9]]
    assert batch.attention_mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.targets.tolist() == [6, 8, 9]


def test_the_first_token_of_a_packed_example_is_predicted_by_nothing():
    batch = pack([Example((5, 6), (5, 6)), Example((7, 8, 9), (7, 8, 9))])
    assert batch.targets.tolist() == [6, 8, 9]
    assert batch.keep.tolist() == [0, 2, 3]
    assert batch.position_ids.tolist() == [[0, 1, 0, 1, 2]]
    assert batch.borders.tolist() == [0, 2, 5]
    assert batch.computed == 5


@pytest.mark.parametrize("name", [attention.NAME, "sdpa"])
def test_the_loss_of_packed_examples_is_the_sum_of_their_own(name):
    chosen = examples(7)
    model = tiny_model()
    alone = sum(float(log_likelihood(model, pad([e], filler=0)).detach()) for e in chosen)
    padded = float(log_likelihood(model, pad(chosen, filler=0)).detach())
    attention.use(model, name)
    packed = float(log_likelihood(model, pack(chosen)).detach())
    assert packed == pytest.approx(alone, rel=1e-6)
    assert padded == pytest.approx(alone, rel=1e-6)


def test_gradients_of_packed_and_single_examples_are_equal():
    chosen = examples(5)

    def gradient(model, batches):
        for batch in batches:
            (log_likelihood(model, batch) / supervised(chosen)).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])

    single = gradient(adapter(), [pad([e], filler=0) for e in chosen])
    model = adapter()
    assert attention.choose(model, chosen, wanted=True)
    assert torch.allclose(gradient(model, [pack(chosen)]), single, rtol=1e-4, atol=1e-7)


def test_a_model_that_mixes_packed_examples_is_not_packed(monkeypatch):
    """With an all-ones mask packing contaminates silently; a model that behaves like that must be found out."""
    model = adapter()
    base = model.get_base_model()
    forward = base.model.forward

    def careless(*args, position_ids=None, cu_seq_lens_q=None, cu_seq_lens_k=None, **more):
        return forward(*args, **more)

    monkeypatch.setattr(base.model, "forward", careless)
    assert not attention.choose(model, examples(4), wanted=True)
    assert model.config._attn_implementation == "sdpa"


def test_packing_can_be_switched_off():
    assert not attention.choose(adapter(), examples(4), wanted=False)


SMALL = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
KINDS = {
    "Llama": {"intermediate_size": 64},
    "Qwen2": {"intermediate_size": 64, "num_key_value_heads": 1},
    "Mistral": {"intermediate_size": 64, "sliding_window": 16, "num_key_value_heads": 2},
    "Gemma2": {"intermediate_size": 64, "head_dim": 16, "num_key_value_heads": 2, "sliding_window": 8},
    "Lfm2": {"intermediate_size": 64, "num_key_value_heads": 2, "full_attn_idxs": [1]},
    "Bloom": {"n_head": 2},
}
MUST_PACK = ("Llama", "Qwen2", "Mistral", "Gemma2")


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_kind_of_model_is_packed_loses_the_same_as_example_by_example(kind):
    """Windows, soft caps, convolutions, position biases: what cannot be packed rightly is padded."""
    import transformers
    from peft import LoraConfig, get_peft_model

    config = getattr(transformers, f"{kind}Config")(**SMALL, **KINDS[kind], pad_token_id=0)
    torch.manual_seed(1)
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    model = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")).eval()
    chosen = sorted(examples(20), key=lambda example: len(example.ids))
    assert len(chosen[-1].ids) > 16 > len(chosen[1].ids), "the first rows are short, the longest is beyond the windows"
    with torch.inference_mode():
        alone = sum(float(log_likelihood(model, pad([example], filler=0))) for example in chosen)
        packs = attention.choose(model, chosen, wanted=True)
        batch = pack(chosen) if packs else pad(chosen, filler=0)
        assert float(log_likelihood(model, batch)) == pytest.approx(alone, rel=1e-5)
    assert packs or kind not in MUST_PACK


def test_a_model_that_computes_all_logits_gives_the_same_loss():
    class Generous(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, logits_to_keep=None, **inputs):
            return self.model(**inputs)

    model, chosen = tiny_model(), examples(4)
    attention.use(model, attention.NAME)
    lavish = log_likelihood(Generous(model), pack(chosen))
    assert torch.allclose(lavish, log_likelihood(model, pack(chosen)))
