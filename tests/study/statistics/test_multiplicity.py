"""Adjusted p values, against values computed by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from app.study.statistics.multiplicity import Block, Joint, holm


def test_holm_by_hand():
    # sorted 0.01 0.02 0.03 0.04 times 4 3 2 1: 0.04 0.06 0.06 0.04, and never less than the one before
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_a_declared_comparison_counts_though_it_could_not_be_tested():
    adjusted = holm([0.01, math.nan, 0.6])
    assert adjusted[0] == pytest.approx(0.03) and math.isnan(adjusted[1]) and adjusted[2] == 1


def many_to_one(comparisons, df, shared):
    correlation = np.full((comparisons, comparisons), 0.5) + 0.5 * np.eye(comparisons)
    return Joint([Block(correlation, np.full(comparisons, float(df)), shared)])


@pytest.mark.parametrize(("comparisons", "df", "critical"), [(2, 10, 2.57), (4, 8, 3.02), (4, 20, 2.65), (8, 30, 2.81)])
def test_critical_values_are_dunnetts(comparisons, df, critical):
    """With one variance for all comparisons: the two-sided table of Dunnett (1964)."""
    found = stats.t.isf(many_to_one(comparisons, df, df).level(0.05) / 2, df)
    assert found == pytest.approx(critical, abs=0.04)


def test_adjusted_p_values_are_dunnetts_step_by_step_and_never_above_holms():
    rng = np.random.default_rng(3)
    control, others = rng.normal(0, 1, 6), [rng.normal(shift, 1, 6) for shift in (2.0, 1.0, 0.2)]
    expected = stats.dunnett(*others, control=control, rng=np.random.default_rng(0)).pvalue
    pooled = np.mean([group.var(ddof=1) for group in (control, *others)])
    t = [(group.mean() - control.mean()) / np.sqrt(2 * pooled / 6) for group in others]
    p = list(2 * stats.t.sf(np.abs(t), 20))
    found = many_to_one(3, 20, 20.0).adjust(p, [0, 1, 2])
    assert found[0] == pytest.approx(expected[0], abs=0.003)  # the first step is Dunnett's own test
    assert all(raw <= one <= least + 1e-12 for raw, one, least in zip(p, found, holm(p), strict=True))
    assert found[1] < expected[1] and found[2] < expected[2]


def test_untested_comparisons_count_in_the_joint_distribution_too():
    block = Block(np.eye(1), np.array([4.0]), 0.0)
    assert Joint([block], 3).level(0.05) == pytest.approx(0.05 / 4, rel=0.05)
    assert Joint([block], 1).adjust([math.nan, 0.02], [1])[1] == pytest.approx(0.04, abs=0.003)
    assert Joint([block]).level(0.05) == 0.05
