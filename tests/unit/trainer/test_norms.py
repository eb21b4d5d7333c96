"""Citations as German lawyers write them."""

import time

import pytest
from clara_trainer.norms import norms_in


@pytest.mark.parametrize(
    ("text", "norms"),
    [
        ("Ein Verwaltungsakt nach § 35 VwVfG.", {("§35", "VwVfG")}),
        ("§35 Satz 1 VwVfG", {("§35", "VwVfG")}),
        ("§§ 30, 34 BauGB", {("§30", "BauGB"), ("§34", "BauGB")}),
        ("§§ 30 Abs. 1, 34 BauGB", {("§30", "BauGB"), ("§34", "BauGB")}),
        ("§§ 31 bis 33 BauGB", {("§31", "BauGB"), ("§33", "BauGB")}),
        ("Art. 3 Abs. 1 GG", {("Art3", "GG")}),
        ("Art. 20 Abs. 3 des GG", {("Art20", "GG")}),
        ("§ 122 Abs. 2 Nr. 1 AO", {("§122", "AO")}),
        ("§ 122 Abs. 2 Nr. 1 und 2 AO", {("§122", "AO")}),
        ("§ 80 Abs. 5 S. 1, 3 VwGO", {("§80", "VwGO")}),
        ("§ 10 Abs. 1 Nr. 3 lit. a UStG", {("§10", "UStG")}),
        ("§ 9a EStG und § 15 II 1 EStG", {("§9a", "EStG"), ("§15", "EStG")}),
        ("§ 44 SGB X", {("§44", "SGB X")}),
        ("§§ 48 ff. VwVfG", {("§48", "VwVfG")}),
        ("§ 29 i.V.m. § 30 BauGB", {("§29", "BauGB"), ("§30", "BauGB")}),
        ("Art. 6 DS-GVO", {("Art6", "DSGVO")}),
        ("§ 5 ist es. Das VwVfG gilt.", set()),
        ("35 VwVfG ohne Zeichen", set()),
        ("", set()),
    ],
)
def test_norms_are_read_as_section_and_law(text, norms):
    assert norms_in(text) == norms


@pytest.mark.parametrize("run", ["§ 1" + ", 1" * 9000, "§ 1" + " Abs. 1" * 4000, "§" * 20000, "§ " + "1" * 20000])
def test_a_model_that_repeats_itself_does_not_stall_the_scorer(run):
    begun = time.perf_counter()
    norms_in(run)
    assert time.perf_counter() - begun < 2
