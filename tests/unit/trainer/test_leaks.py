"""A row that repeats a golden sample is found; a row that asks for the same in other words is not."""

import random
import time

import pytest
from clara_api.handoff.run import GoldenPrompts, GoldenSample
from clara_trainer.leaks import GoldenIndex, char_grams, jaccard, word_grams
from clara_trainer.rows import Message, Row, normalised

PROMPT = "An welchem Tag gilt ein mit der Post versandter Steuerbescheid als bekannt gegeben?"
REFERENCE = "Am vierten Tag nach der Aufgabe zur Post gilt der Bescheid als bekannt gegeben."


def golden(*samples):
    told = [
        GoldenSample(id=f"s{n}", prompt=prompt, reference=reference) for n, (prompt, reference) in enumerate(samples)
    ]
    return GoldenPrompts(name="steuerrecht-golden-v1", samples=told)


def asked(*questions, answer="Ja."):
    turns = [turn for q in questions for turn in (Message("user", q), Message("assistant", answer))]
    return Row("a.jsonl", 7, messages=tuple(turns))


def leak_of(row, *samples):
    return GoldenIndex([golden(*samples or [(PROMPT, REFERENCE)])]).leak(row)


def test_a_leak_names_the_golden_dataset_the_sample_and_the_measure():
    leak = leak_of(asked("an welchem tag gilt ein mit der post versandter steuerbescheid als bekannt gegeben"))
    assert (leak.golden, leak.sample, leak.measure, leak.value) == ("steuerrecht-golden-v1", "s0", "equal", 1.0)
    assert leak.why == "repeats sample s0 of GoldenDataset steuerrecht-golden-v1 (equal)"


@pytest.mark.parametrize(
    ("question", "measure"),
    [
        (PROMPT.replace("An ", "Aufenthaltsbestimmungsrechtsangelegenheitenhalber an "), "words"),
        (PROMPT.replace("versandter Steuerbescheid", "versendeter Steuerbescheid"), "characters"),
        ("Sehr geehrte Damen und Herren, vor Wochen bekam ich Post. " + PROMPT + " Ich danke Ihnen sehr.", "within"),
        (f"{REFERENCE} " * 200 + PROMPT.replace("Post", "Briefpost") + f" {REFERENCE}" * 200, "within"),
    ],
)
def test_near_copies_are_found(question, measure):
    assert leak_of(asked(question)).measure == measure


@pytest.mark.parametrize(
    "question",
    [
        "Wann ist ein Bescheid bekannt gegeben, der mit einfachem Brief kam?",
        "Mein Steuerbescheid kam per Post. Ab wann läuft die Frist?",
        "An welchem Tag gilt eine Zahlung als entrichtet?",
    ],
)
def test_paraphrases_and_neighbours_pass(question):
    assert leak_of(asked(question)) is None


def test_another_number_is_another_question():
    asks = "Welche Frist gilt nach § {} AO für den Einspruch gegen einen Bescheid?"
    assert leak_of(asked(asks.format(347)), (asks.format(355), "")) is None
    assert leak_of(asked(f"Schreiben vom 3. Mai: {asks.format(355)}"), (asks.format(355), "")).measure == "characters"


def test_every_question_of_a_conversation_is_compared():
    assert leak_of(asked("Guten Tag!", PROMPT, "Danke.")).measure == "equal"


def test_plain_text_that_quotes_a_prompt_is_found():
    assert leak_of(Row("t.jsonl", 1, text=f"Häufige Fragen. {PROMPT} {REFERENCE}")).measure == "within"


def test_what_the_assistant_or_the_system_says_is_no_question():
    turns = (Message("system", PROMPT), Message("user", "Und?"), Message("assistant", PROMPT))
    assert leak_of(Row("a.jsonl", 1, messages=turns)) is None


ALIKE = "Sagen Sie: an welchem Tag gilt ein mit der Post versandtes Schreiben vom Amt als bekannt gegeben?"


def test_a_similar_question_with_the_very_reference_as_answer_is_a_leak():
    assert leak_of(asked(ALIKE)) is None
    assert leak_of(asked(ALIKE, answer=f"Gern. {REFERENCE.upper()} Ihr Amt.")).measure == "answer"


def test_an_answer_that_several_samples_share_gives_none_of_them_away():
    samples = [(PROMPT, REFERENCE), ("Wann beginnt die Frist für den Einspruch gegen eine Ablehnung?", REFERENCE)]
    assert leak_of(asked(ALIKE, answer=REFERENCE), *samples) is None


def test_a_short_prompt_inside_a_longer_question_is_another_question():
    short = ("Was ist Umsatzsteuer?", "")
    assert leak_of(asked("Was ist Umsatzsteuer?"), short).measure == "equal"
    assert (
        leak_of(asked("Was ist Umsatzsteuer im Sinne des Gesetzes, und wer schuldet sie beim Import?"), short) is None
    )


def test_the_most_similar_sample_is_named():
    other = PROMPT.replace("Steuerbescheid", "Haftungsbescheid")
    assert leak_of(asked(other), (PROMPT, ""), (other, "")).sample == "s1"


def test_without_golden_samples_nothing_leaks():
    assert GoldenIndex([]).leak(asked(PROMPT)) is None
    assert leak_of(asked("?!"), (PROMPT, "")) is None


WORDS = [
    f"{a}{b}" for a in ("steuer", "bau", "wohn", "erb", "grund") for b in ("recht", "amt", "frist", "gebiet", "satz")
]


def some_text(chance):
    return " ".join(chance.choices(WORDS, k=chance.randint(1, 14)))


def test_the_index_leaves_out_no_pair_that_a_full_comparison_finds():
    chance = random.Random(1)
    prompts = list(dict.fromkeys(some_text(chance) for _ in range(40)))
    index = GoldenIndex([golden(*[(prompt, "") for prompt in prompts])])
    near = 0
    for _ in range(400):
        words = chance.choice(prompts).split()
        words[chance.randrange(len(words))] = chance.choice(WORDS)
        text = " ".join(words)
        best = max(
            max(jaccard(f(p), f(text)) for f in (char_grams, lambda t: word_grams(tuple(t.split())))) for p in prompts
        )
        leak = index.leak(asked(text))
        if best > 0.6:
            near += 1
            assert leak is not None
            assert leak.value == pytest.approx(1.0 if text in prompts else best)
        elif leak:
            assert leak.measure == "within"
    assert near > 100


def test_three_thousand_rows_against_two_hundred_samples_take_seconds():
    chance = random.Random(2)
    words = [f"{a}{b}{c}" for a in WORDS for b in ("", "ver", "un") for c in ("", "lich", "keit", "e", "en")]

    def line():
        return " ".join(chance.choices(words, k=12))

    index = GoldenIndex([golden(*[(line(), "") for _ in range(200)])])
    rows = [asked(line()) for _ in range(3_000)]
    began = time.process_time()
    for row in rows:
        index.leak(row)
    assert (
        time.process_time() - began < 10
    )  # about 1 s, though all words share their stems; comparing every pair takes a minute


def test_normalising_keeps_words_only():
    assert normalised("  Wann GILT’s,\tdas?\n") == "wann gilt s das"
