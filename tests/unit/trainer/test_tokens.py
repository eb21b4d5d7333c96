"""Only what the assistant says is learned."""

import pytest
from clara_trainer.rows import Message, Row
from clara_trainer.tokens import IGNORED, example_of
from trainer_lab import MARKED_TEMPLATE, PLAIN_TEMPLATE, tiny_tokenizer

CONVERSATION = Row(
    "a.jsonl",
    3,
    messages=(
        Message("system", "Sei knapp."),
        Message("user", "Wann?"),
        Message("assistant", "Am vierten Tag."),
        Message("user", "Norm?"),
        Message("assistant", "Nach der AO."),
    ),
)


def learned(example, tokenizer):
    return tokenizer.decode([token for token in example.labels if token != IGNORED])


@pytest.mark.parametrize("template", [MARKED_TEMPLATE, PLAIN_TEMPLATE])
def test_the_loss_is_on_the_assistants_words_and_their_end(template):
    tokenizer = tiny_tokenizer(template)
    example = example_of(CONVERSATION, tokenizer, max_length=500)
    assert learned(example, tokenizer) == "Am vierten Tag.<|end|>Nach der AO.<|end|>"


def test_marks_and_prefix_difference_agree():
    marked, plain = tiny_tokenizer(MARKED_TEMPLATE), tiny_tokenizer(PLAIN_TEMPLATE)
    assert example_of(CONVERSATION, marked, max_length=500) == example_of(CONVERSATION, plain, max_length=500)


def test_of_plain_text_everything_is_learned_also_where_it_ends():
    tokenizer = tiny_tokenizer(MARKED_TEMPLATE)
    example = example_of(Row("t.jsonl", 1, text="Am vierten Tag."), tokenizer, max_length=500)
    assert example.labels == example.ids
    assert example.ids[-1] == tokenizer.eos_token_id


def test_an_answer_beyond_the_longest_length_is_a_problem():
    tokenizer = tiny_tokenizer(MARKED_TEMPLATE)
    row = Row("a.jsonl", 9, messages=(Message("user", "Wann? " * 50), Message("assistant", "Ja.")))
    with pytest.raises(ValueError, match=r"begins its answer after maxLength \(16 tokens\)"):
        example_of(row, tokenizer, max_length=16)


def test_a_template_that_rewrites_earlier_turns_is_refused_not_guessed():
    rewriting = "{% for m in messages %}{{ loop.length }}{{ m.content }}<|end|>{% endfor %}"
    with pytest.raises(ValueError, match="rewrites earlier turns"):
        example_of(CONVERSATION, tiny_tokenizer(rewriting), max_length=500)


def test_what_the_template_itself_refuses_is_told():
    refusing = "{{ raise_exception('keine Systemnachricht') }}"
    with pytest.raises(ValueError, match=r"is refused by .* \(keine Systemnachricht\)"):
        example_of(CONVERSATION, tiny_tokenizer(refusing), max_length=500)


def test_a_template_that_writes_the_date_gives_the_same_tokens_every_day():
    dated = "{{ strftime_now('%Y-%m-%d') }}" + MARKED_TEMPLATE
    tokenizer = tiny_tokenizer(dated)
    assert "2026-01-01" in tokenizer.decode(example_of(CONVERSATION, tokenizer, max_length=500).ids)


def test_it_is_told_how_much_was_cut():
    whole = example_of(CONVERSATION, tiny_tokenizer(), max_length=500)
    cut = example_of(CONVERSATION, tiny_tokenizer(), max_length=40)
    assert (whole.truncated, whole.cut) == (False, 0)
    assert (cut.truncated, len(cut.ids) + cut.cut) == (True, len(whole.ids))
