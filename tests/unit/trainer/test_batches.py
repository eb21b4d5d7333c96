"""How a step is cut, packed and padded; the loss is the same in every way."""

import pytest
import torch
from clara_trainer import attention
from clara_trainer.batches import alike, cut, log_likelihood, pack, pad, supervised
from clara_trainer.tokens import IGNORED, Example
from hypothesis import given
from hypothesis import strategies as st
from training_bench import adapter, examples, tiny_model


@given(lengths=st.lists(st.integers(1, 500), min_size=1, max_size=40), most=st.integers(1, 12))
@pytest.mark.parametrize("divide", [cut, alike])
def test_every_example_is_in_exactly_one_group_and_no_group_is_larger_than_asked(divide, lengths, most):
    groups = divide(lengths, most)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    assert all(0 < len(group) <= most for group in groups)
    assert len(groups) == -(-len(lengths) // most)


def test_packed_groups_are_about_equally_long():
    lengths = [500, 10, 490, 20, 30, 480]
    assert sorted(sum(lengths[i] for i in group) for group in cut(lengths, 2)) == [510, 510, 510]


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
    alone = sum(float(log_likelihood(model, pad([e], filler=0))) for e in chosen)
    padded = float(log_likelihood(model, pad(chosen, filler=0)))
    attention.use_packed(model) if name == attention.NAME else model.set_attn_implementation(name)
    packed = float(log_likelihood(model, pack(chosen)))
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
