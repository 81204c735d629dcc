"""Sentences about the quality of a front."""

from __future__ import annotations

from designs.codesigns.sentences import quality_sentences


def test_against_the_true_front_the_regret_is_stated() -> None:
    regret = {
        **{"hypervolume": 0.9995, "found": 0.86, "matched": 1.0, "worst": 1.05},
        **{"compressions": 98, "designs": 467_712, "members": 2276},
    }
    quality = {"growth": 0.01, "gap": {"latency_us": {"mean": 0.1, "largest": 0.2}}, "regret": regret}
    (sentence,) = quality_sentences({"quality": quality})
    assert sentence == (
        "Against the true front, 2,276 of 467,712 designs of all 98 compressions, the search reached 99.95% of the "
        "hypervolume, found 86.0% of the members and matched 100.0% within 5% in all costs; the worst miss is 1.05 "
        "times a cost."
    )


def test_without_the_true_front_growth_and_gap_are_stated() -> None:
    quality = {"growth": 0.00002, "gap": {"latency_us": {"mean": 0.031, "largest": 0.082}}, "regret": None}
    assert quality_sentences({"quality": quality | {"unsettled": 0.03}}) == [
        "The last quarter of the compressions added less than 0.01% of the hypervolume; no compression with the same "
        "predicted change of the outputs has a latency that is more than 8.20% lower on an array of the front (mean "
        "3.10%).",
        "3.00% of the hypervolume of the front depends on where in their intervals the costs of unmeasured designs "
        "lie.",
    ]


def test_without_a_figure_nothing_is_said_of_it() -> None:
    assert quality_sentences({}) == []
    assert quality_sentences({"quality": {"regret": None, "gap": {}}}) == []
    assert quality_sentences({"quality": {"unsettled": 0.00001}}) == [
        "Less than 0.01% of the hypervolume of the front depends on where in their intervals the costs of unmeasured "
        "designs lie."
    ]
