"""From answers to the numbers the gate reads."""

import pytest
from clara_api.golden_dataset import Constraints, Sample, Scorer
from clara_trainer.confidence import interval, t_quantile
from clara_trainer.constraints import broken_by
from clara_trainer.patterns import PatternError, found_in
from clara_trainer.scorers import citation, exact, regex, token_f1
from clara_trainer.scoring import Grade, result_of, summarize

DIGEST = "sha256:" + "a" * 64


def sample(reference="Am vierten Tag, § 122 Abs. 2 Nr. 1 AO.", id_="s1", **fields):
    return Sample(id=id_, prompt="Wann?", reference=reference, **fields)


def summary(*scores_and_groups, **options):
    scorers = [Scorer(name="exact")]
    results = [
        result_of(sample(id_=f"s{n}", group=group, **options), "", scorers, Grade(score))
        for n, (score, group) in enumerate(scores_and_groups)
    ]
    return summarize(results, sample_pass=70, golden_digest=DIGEST, report_uri="volume://a/r", judge=None)


def test_exact_folds_case_and_spaces():
    assert exact(sample("Ja,  gewiss."), " ja, Gewiss. ") == 1
    assert exact(sample("Ja."), "Nein.") == 0


def test_token_f1_is_the_harmonic_mean_over_words():
    assert token_f1(sample("der alte Bescheid"), "Der neue Bescheid!") == pytest.approx(2 / 3)
    assert token_f1(sample("Bescheid"), "") == 0


def test_citation_compares_sections_and_laws_only():
    assert citation(sample(), "Bekannt gegeben am vierten Tag (§ 122 AO)") == 1
    assert citation(sample(), "§ 122 AO und § 35 VwVfG") == pytest.approx(2 / 3)
    assert citation(sample(), "§ 123 AO") == 0


def test_a_reference_without_norms_wants_an_answer_without_norms():
    assert citation(sample("Nein."), "Nein.") == 1
    assert citation(sample("Nein."), "Nein, § 1 AO.") == 0


def test_regex_looks_for_the_samples_pattern():
    assert regex(sample(pattern=r"vier(ten|) Tag"), "am vierten Tag") == 1
    assert regex(sample(pattern=r"^\d+$"), "kein Datum") == 0


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|b*)*", r"(x)\1", "a(?=b)", "("])
def test_a_pattern_that_could_run_away_is_refused_by_name(pattern):
    with pytest.raises(PatternError) as error:
        found_in(pattern, "aaaa")
    assert pattern in str(error.value)


def test_ordinary_patterns_are_taken():
    assert found_in(r"§\s*\d+[a-z]?\s+(AO|VwVfG)", "nach § 122 AO")
    assert found_in(r"(\d{1,3}\.){2}\d+", "am 01.02.2026")


def test_broken_constraints_are_listed_by_kind():
    wanted = Constraints(must_cite=["§ 122 AO", "§ 35 VwVfG"], must_match=["Tag"], must_not_match=["vermutlich"])
    broken = broken_by(sample(constraints=wanted), "Vermutlich, vermutlich § 122 Abs. 2 AO")
    assert [(b.kind, b.expected) for b in broken] == [
        ("mustCite", "§ 35 VwVfG"),
        ("mustMatch", "Tag"),
        ("mustNotMatch", "vermutlich"),
    ]


def test_a_samples_score_is_the_weighted_mean_of_its_scorers():
    scorers = [Scorer(name="exact", weight=1), Scorer(name="citation", weight=3)]
    result = result_of(sample(), "§ 122 AO", scorers, None)
    assert result.score == pytest.approx(75)
    assert result.scores == {"exact": 0, "citation": 100}


def test_with_a_judge_the_score_is_the_judges():
    result = result_of(sample(), "falsch", [Scorer(name="exact")], Grade(88.0, {"accuracy": 90.0}))
    assert result.score == 88
    assert result.scores == {"exact": 0, "accuracy": 90}


def test_a_sample_whose_pattern_is_unusable_is_unscored_with_the_reason():
    result = result_of(sample(pattern="("), "x", [Scorer(name="regex")], None)
    assert result.score is None
    assert "is no regular expression" in (result.error or "")


def test_the_interval_is_that_of_students_t_over_groups():
    # means 80, 90, 100: mean 90, s = 10, t(2) = 4.3027
    low, high = interval([[70, 90], [90], [100]], highest=1000)
    assert low == pytest.approx(90 - 4.3027 * 10 / 3**0.5)
    assert high == pytest.approx(90 + 4.3027 * 10 / 3**0.5)


def test_one_group_says_nothing_about_spread():
    assert interval([[80, 90, 100]]) is None
    told = summary((80, "a"), (90, "a"))
    assert (told.score, told.low, told.high, told.groups) == (85, None, None, 1)


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.7062), (30, 2.0423), (31, 2.0395), (60, 2.0003), (199, 1.9720)]
)
def test_quantiles_agree_with_the_printed_tables(degrees, quantile):
    assert t_quantile(degrees) == pytest.approx(quantile, abs=2e-4)


def test_unscored_samples_count_neither_for_the_score_nor_for_the_pass_rate():
    told = summary((100, "a"), (60, "b"), (None, "c"))
    assert (told.score, told.pass_rate, told.unscored, told.samples, told.groups) == (80, 0.5, 1, 3, 3)


def test_nothing_scored_is_no_score_not_zero():
    assert summary((None, "a")).score is None


def test_the_summary_tells_the_first_broken_constraints_and_how_many_there_are():
    wanted = Constraints(must_match=["x" * 300])
    told = summary(*[(50.0, None)] * 9, constraints=wanted)
    assert told.failed_constraint_count == 9
    assert len(told.failed_constraints) == 5
    assert max(len(failure.expected) for failure in told.failed_constraints) == 100
