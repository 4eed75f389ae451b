"""Analyses of made-up studies whose results are known: tables, pairs, families, verdicts."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from app.metrics import MetricInfo, metric_info
from app.norms import NormSpec
from app.runs.examples_file import write_test_examples
from app.study.analysis.analyse import analyse
from app.study.analysis.comparisons import best_of
from app.study.analysis.quantities import score
from app.study.analysis.words import p_value, paragraph
from app.study.plan import Variant
from app.study.published import published
from app.study.report.page import score_table
from app.study.statistics.power import detectable
from tests.study.made_up import LUCK, result, seeds
from tests.study.statistics.test_simulations import compared


def family(found, name):
    return next(family for family in found.families if family.name == name)


def test_a_planted_difference_is_shown_and_none_is_not(made):
    found = analyse(*made({"layernorm": seeds(75), "adanorm": seeds(77, 0.1), "none": seeds(75.02, 0.2)}))
    (table,) = found.tables
    baseline, ada, none = table.rows
    assert baseline.comparison is None and baseline.mean == pytest.approx(75.3, abs=0.01)
    assert ada.comparison.verdict == "better" and none.comparison.verdict in ("undecided", "equal")
    assert ada.comparison.words.startswith("adanorm(k=0.1,scale=1) does better than layernorm in accuracy: +2.0")
    numbers = ada.comparison.estimate
    assert numbers.sd == pytest.approx(0.0577, abs=1e-3)  # the seeds' luck, 0.9, is in both and drops out
    assert numbers.low < 2 < numbers.high and numbers.simultaneous[0] < numbers.low and numbers.adjusted > numbers.p


def test_every_number_is_quoted_from_one_family(made):
    norms = ("layernorm", "layernorm_simple", "detachnorm", "adanorm", "none")
    found = analyse(*made({norm: seeds(75 + 0.3 * i, 0.1 + 0.03 * i) for i, norm in enumerate(norms)}))
    scores = family(found, "scores")
    assert len(scores.comparisons) == 6  # simple - detachnorm, and what each adds, are a claim's
    assert scores.method.startswith("6 comparisons")
    (table,) = found.tables
    for row in table.rows[1:]:
        assert row.comparison in scores.comparisons
    numbers = table.rows[1].comparison.estimate  # what is detectable is so at the level of the family, not of one
    alone, of_family = (detectable(numbers.se, numbers.df, level).value for level in (0.05, 0.05 / 6))
    assert 1.2 * alone < numbers.detectable.value <= of_family
    third = next(answer for answer in found.answers if answer.title.startswith("AdaNorm does better"))
    assert third.words == table.rows[3].comparison.words


def test_either_way_round_is_the_same_comparison(made):
    found = analyse(*made({"layernorm": seeds(75), "adanorm": seeds(77, 0.1)}))
    base, ada = (row.variant for row in found.tables[0].rows)
    there = found.find("accuracy", "rt", ada, base)
    back = found.find("accuracy", "rt", base, ada)
    assert (there.verdict, back.verdict) == ("better", "worse") and back.reversed.verdict == "better"
    assert back.estimate.adjusted == there.estimate.adjusted and back.estimate.mean == -there.estimate.mean
    assert (back.estimate.low, back.estimate.high) == (-there.estimate.high, -there.estimate.low)
    assert found.find("accuracy", "rt", ada, ada) is None


def test_a_metric_that_only_the_runs_know_has_its_direction_and_its_unit(made):
    own = MetricInfo("wer", "word error rate", higher_is_better=False, is_share=True)
    runs = {
        norm: {s: result(s, 0, primary_metric=own.to_dict(), test={"wer": rate + 1e-4 * s * i}) for s in LUCK}
        for i, (norm, rate) in enumerate((("layernorm", 0.25), ("adanorm", 0.23)))
    }
    found = analyse(*made(runs))
    (table,) = found.tables
    assert table.metric == own and metric_info("wer") is None
    assert table.rows[1].comparison.verdict == "better" and table.rows[1].mean == pytest.approx(23.025)
    assert {answer.verdict for answer in found.answers if answer.title.startswith("AdaNorm does")} == {"supported"}


def test_runs_that_are_not_verified_as_paired_are_not_compared(made):
    (table,) = analyse(*made({"layernorm": seeds(75), "adanorm": seeds(77, plan_fingerprint="other")})).tables
    found = table.rows[1].comparison
    assert found.estimate is None and "not paired on seeds 1, 2, 3, 4: their runs differ in batches" in found.words


def test_runs_of_unlike_settings_are_not_paired(made):
    trained = {"data.source": "a", "trainer.limit_train_batches": 1.0}
    ours = seeds(77, 0.1, training=trained)
    ours[2]["training"] = {**trained, "trainer.limit_train_batches": 0.05}
    (table,) = analyse(*made({"layernorm": seeds(75, training=trained), "adanorm": ours})).tables
    found = table.rows[1].comparison
    assert (
        found.estimate.n == 3
        and "not paired on seed 2: their runs differ in trainer.limit_train_batches" in found.words
    )


def test_below_three_seeds_there_is_no_verdict(made):
    few = {"layernorm": seeds(75), "adanorm": seeds(85, 0.1)}
    found = analyse(*made({norm: {s: r for s, r in runs.items() if s < 3} for norm, runs in few.items()}, (1, 2)))
    comparison = found.tables[0].rows[1].comparison
    assert comparison.verdict == "undecided" and "over 2 paired seeds, too few for a verdict" in comparison.words


def test_equal_differences_prove_nothing(made):
    """One test example more on each of three seeds had p = 0."""
    runs = {"layernorm": seeds(75, 0), "adanorm": seeds(75.2, 0)}
    found = analyse(*made({norm: {s: r for s, r in own.items() if s < 4} for norm, own in runs.items()}, (1, 2, 3)))
    comparison = found.tables[0].rows[1].comparison
    assert comparison.verdict == "undecided" and math.isnan(comparison.estimate.p)


def test_a_study_that_is_not_done_is_preliminary(made):
    ours = seeds(77, 0.1)
    del ours[4]
    found = analyse(*made({"layernorm": seeds(75), "adanorm": ours}))
    assert found.preliminary and (found.done, found.total) == (7, 8)
    comparison = found.tables[0].rows[1].comparison
    assert comparison.verdict == "preliminary" and comparison.words.startswith("preliminary, ")


def test_divergence_is_the_verdict_where_it_is_the_difference(made):
    dead = {s: result(s, 0, status="diverged", test=None) for s in LUCK}
    runs = {
        "layernorm": seeds(75),
        "detachnorm": dead,
        "none": {1: dead[1], **{s: r for s, r in seeds(78, 0.2).items() if s > 1}},
    }
    found = analyse(*made(runs))
    (table,) = found.tables
    all_dead, one_dead = (row.comparison for row in table.rows[1:])
    assert all_dead.verdict == "worse" and all_dead.estimate is None
    assert all_dead.words.startswith("detachnorm diverged on 4 of 4 seeds, layernorm on 0 of 4 (p = 0.0")
    assert (
        one_dead.verdict == "undecided" and "over the seeds that both survive, which decides nothing" in one_dead.words
    )
    assert one_dead.words.startswith("none diverged on 1 of 4 seeds")
    assert [one.verdict for one in family(found, "divergences").comparisons] == ["worse", "undecided"]


def test_a_run_that_learnt_nothing_is_no_score_of_a_bad_norm(made):
    """It made an interval from -19 to +10, and 63 seeds needed."""
    chance = {"accuracy": 0.5, "accuracy_of_majority": 0.502}
    runs = {"layernorm": seeds(75), "none": {**seeds(76, 0.2), 3: result(3, 0, test=chance)}}
    (table,) = analyse(*made(runs)).tables
    found = table.rows[1].comparison
    assert table.rows[1].collapsed == (3,) and found.verdict == "undecided" and found.estimate.n == 3
    assert found.words.startswith("none diverged or collapsed on 1 of 4 seeds, layernorm on 0 of 4 (p = ")
    assert "over the seeds that both survive" in found.words and found.estimate.mean > 0.9
    (table,) = analyse(*made({norm: {s: result(s, 0, test=chance) for s in LUCK} for norm in runs})).tables
    assert not table.rows[1].collapsed and table.rows[1].scores  # where no run learns, these are the scores


def test_digits_are_those_that_the_standard_error_gives_meaning_to(made):
    bpc = {"name": "bpc", "mode": "min"}
    runs = {
        norm: {s: result(s, 0, primary_metric=bpc, test={"bpc": 1.07 + shift + LUCK[s] / 1000 * i}) for s in LUCK}
        for i, (norm, shift) in enumerate((("layernorm", 0.0), ("adanorm", -0.004)), 1)
    }
    (table,) = analyse(*made(runs)).tables
    found = table.rows[1].comparison
    assert found.verdict == "better" and "by less than the margin of 0.01" in found.words
    assert "in bpc" in found.words and "-0.00370 bits per byte, 95 % interval" in found.words


def test_a_p_value_never_looks_as_if_it_were_on_the_other_side_of_the_level():
    given = (0.00002, 0.0123, 0.0496, 0.04999, 0.05, 0.43)
    assert [*map(p_value, given), p_value(math.nan)] == [
        "p < 0.0001", "p = 0.012", "p < 0.05", "p < 0.05", "p = 0.05", "p = 0.43", "",
    ]  # fmt: skip


def test_a_margin_allows_the_verdict_equal(made):
    (table,) = analyse(*made({"layernorm": seeds(75), "adanorm": seeds(75.02, 0.1)})).tables
    found = table.rows[1].comparison
    assert found.verdict == "equal" and found.margin == 0.5
    assert "adanorm(k=0.1,scale=1) equals layernorm in accuracy within 0.5 points" in found.words


def test_a_norm_with_more_than_options_is_not_the_published_one(made):
    norms = ["layernorm", {"name": "layernorm", "freeze": "gain"}, {"name": "adanorm", "by_role": {"ffn": {"k": 0}}}]
    norms += [{"name": "adanorm", "options": {"k": 0.1001}}, {"name": "adanorm", "sites": "final"}, "none"]
    found = analyse(*made({"layernorm": seeds(75), "adanorm": seeds(77)}, norms=norms))
    assert [row[-1] for row in score_table(found.study, found.tables[0]).rows] == ["77.21", *[""] * 4, "76.85"]
    assert published("wmt14_en_de", Variant(NormSpec.parse("none"))) == "diverges"


def test_scores_on_a_part_of_the_data_are_not_next_to_published_ones(made):
    for training, shown in (({}, "77.21"), ({"data.train_fraction": 0.5}, ""), ({"data.folds": 10}, "")):
        runs = {norm: seeds(75, training=training) for norm in ("layernorm", "none")}
        study, trials = made(runs, name=f"s{len(training)}{shown}")
        assert score_table(study, analyse(study, trials).tables[0]).rows[0][-1] == shown


def test_the_plan_names_the_comparisons_and_the_margins(made):
    runs = {"layernorm": seeds(75), "adanorm": seeds(75.02, 0.1), "none": seeds(75.2, 0.1)}
    found = analyse(*made(runs, comparisons=[["none", "adanorm"]], margin={"accuracy": 5}, claims=[]))
    (one,) = family(found, "scores").comparisons
    assert (one.variant.label, one.other.norm.name, one.margin) == ("none", "adanorm", 5)
    rows = found.tables[0].rows
    assert rows[2].comparison == one and rows[1].comparison is None
    assert {other.other for other in found.tables[0].secondary} == {one.other}


def test_settings_that_the_plan_varies_do_not_part_runs(made):
    norms = ["layernorm", {"name": "adanorm", "overrides": {"model.init_args.optimizer.lr": 0.01}}]
    trained = {"model.optimizer.lr": 0.001, "data.batch": 8}
    runs = {"layernorm": seeds(75, training=trained)}
    runs["adanorm"] = seeds(77, 0.1, training={**trained, "model.optimizer.lr": 0.01})
    assert analyse(*made(runs, norms=norms)).tables[0].rows[1].comparison.estimate.n == 4


def test_the_test_set_is_a_source_of_error(made):
    """Per-example results: the norms differ on the same examples whatever the seed, which more seeds do not average."""
    rng = np.random.default_rng(0)
    base = rng.random(200) < 0.75
    swapped = rng.choice(200, 40, replace=False)
    correct = {"layernorm": base, "adanorm": np.where(np.isin(np.arange(200), swapped), ~base, base)}
    flips = {seed: rng.choice(200, 4, replace=False) for seed in LUCK}
    study, trials = made({norm: seeds(75) for norm in correct})
    for trial in trials:
        folder = next(trial.root.rglob("result.json")).parent
        own = correct[trial.variant.norm.name].copy()
        own[flips[trial.seed] if trial.variant.norm.name == "adanorm" else flips[trial.seed][:1]] ^= True
        content = json.loads((folder / "result.json").read_text())
        content["test"]["accuracy"] = float(own.mean())
        (folder / "result.json").write_text(json.dumps(content))
        write_test_examples(folder, {"index": np.arange(200), "correct": own.astype(np.int64)})
    found = analyse(study, trials).tables[0].rows[1].comparison.estimate
    differences = correct["adanorm"].astype(float) - correct["layernorm"]
    assert found.sources["examples"] == pytest.approx(100**2 * differences.var() / 200, rel=0.1)
    assert found.se**2 == pytest.approx(sum(found.sources.values())) and found.df > 100
    assert "over test examples such as these" in found.estimand
    (folder / "test_examples.parquet").unlink()
    without = analyse(study, trials).tables[0].rows[1].comparison.estimate
    assert set(without.sources) == {"seeds"} and without.se < found.se
    assert without.estimand.endswith("for this split and test set")


def test_the_best_are_those_that_it_does_not_beat(made):
    runs = {"layernorm": seeds(70, 0.1), "adanorm": seeds(77, 0.1), "none": seeds(77.05, 0.3), "detachnorm": seeds(80)}
    runs["detachnorm"][1] = result(1, 0, status="diverged", test=None)
    (table,) = analyse(*made(runs)).tables
    assert [variant.norm.name for variant in table.best] == ["adanorm", "none"]


def test_the_best_agree_with_the_verdicts_and_are_no_controls(made):
    runs = {"layernorm": seeds(75, 0.1), "layernorm[null-twin]": seeds(75.1, 0.1), "adanorm": seeds(75.06, 0.2)}
    settings = {"norms": ["layernorm", "adanorm"], "comparisons": [["adanorm", "layernorm"]], "controls": True}
    (table,) = analyse(*made(runs, **settings)).tables
    assert [variant.label for variant in table.best] == ["layernorm", "adanorm(k=0.1,scale=1)"]
    (one,) = [row.comparison for row in table.rows if row.comparison]
    for verdict, number in (("better", 1), ("worse", 2), ("equal", 2)):  # adanorm has the best mean
        said = best_of(table, score(table.metric), [replace(one, verdict=verdict)])
        assert len(said) == number


def test_controls_do_not_say_how_norms_vary(made):
    runs = {"layernorm": seeds(75, 0.1), "adanorm": seeds(75.3, 0.2), "none": seeds(75.1, -0.2)}
    norms = list(runs)
    runs["layernorm[null-twin]"] = seeds(75, 0.1001)  # as where the model has no dropout
    alone, planted = (
        analyse(*made(runs, norms=norms, controls=controls, claims=[], name=f"{controls}")).tables[0].rows[1]
        for controls in (False, True)
    )
    assert planted.comparison.estimate.se == alone.comparison.estimate.se
    assert planted.comparison.estimate.df == alone.comparison.estimate.df > 3


def test_one_run_in_two_tables_is_one_comparison(made):
    """After a look, a table in which another variant is undecided has further seeds of the baseline."""
    study, trials = made({"layernorm": seeds(75), "adanorm": seeds(77, 0.1)}, claims=[])
    twice = [*trials, *(replace(t, condition=replace(t.condition, at="best")) for t in trials if t.seed < 4)]
    scores = family(analyse(study, twice), "scores")
    assert len(scores.comparisons) == 2 and len({one.estimate.adjusted for one in scores.comparisons}) == 1
    assert scores.method.startswith("1 comparison,")
    assert scores.method.endswith("layernorm in accuracy on rt = rt, best")


def test_the_bounds_of_a_loss_are_not_losses(made):
    runs = {"layernorm": seeds(75), "adanorm": {s: result(s, 75, valid=0.5 + 0.02 * (-1) ** s) for s in LUCK}}
    (gap, *_) = family(analyse(*made(runs)), "overfitting").comparisons
    assert gap.quantity.name == "gap" and "; any decrease is below 0.0" in gap.words and "any increase is" in gap.words


def test_the_paragraph_answers(made):
    runs = {"layernorm": seeds(75), "adanorm": seeds(77, 0.1), "none": seeds(75.02, 0.1)}
    runs["detachnorm"] = {s: result(s, 0, status="diverged", test=None) for s in LUCK}
    text = paragraph(analyse(*made(runs)))
    assert text.startswith("detachnorm diverged on 4 of 4 seeds, layernorm on 0 of 4 (p = ")
    assert "adanorm(k=0.1,scale=1) does better than layernorm (+2.000 points, p" in text
    assert "none equals layernorm (within 0.5 points, p" in text
    assert text.endswith("detachnorm does worse than layernorm (by its divergences, p = 0.023).")
    text = paragraph(analyse(*made({**runs, "layernorm": runs["detachnorm"]}, norms=["layernorm", "adanorm", "none"])))
    assert text.startswith(
        "layernorm diverged on 4 of 4 seeds. adanorm(k=0.1,scale=1) does better than layernorm (by the"
    )


def test_errors_are_those_of_the_simulated_studies(made):
    """What tests/study/statistics/test_simulations.py shows of many studies holds for this code."""
    scores = 75 + np.random.default_rng(0).normal(0, 1, (1, 4, 5))
    norms = ["layernorm", "layernorm_simple", "detachnorm", "adanorm", "none"]
    runs = {
        norm: {seed: result(seed, 0, test={"accuracy": scores[0, seed - 1, at] / 100}) for seed in LUCK}
        for at, norm in enumerate(norms)
    }
    found = [row.comparison.estimate for row in analyse(*made(runs, claims=[])).tables[0].rows[1:]]
    mean, se, variance = compared(scores)
    assert [one.mean for one in found] == pytest.approx(mean[0])
    assert [one.se for one in found] == pytest.approx(se[0]) and {one.df for one in found} == {variance.df}
