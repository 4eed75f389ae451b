"""Levels of looks against published boundaries."""

import pytest
from scipy import stats

from app.study.statistics.sequential import nominal_levels, sequential_p


def test_boundaries_are_the_published_ones():
    """Lan and DeMets with O'Brien-Fleming spending at 4 equal looks (Reboussin et al., 2000)"""
    found = [stats.norm.isf(level / 2) for level in nominal_levels((1, 2, 3, 4), 0.05)]
    assert found == pytest.approx([4.333, 2.963, 2.359, 2.014], abs=2e-3)
    assert nominal_levels((7,), 0.05) == pytest.approx((0.05,))


def test_a_p_value_of_several_looks_is_below_alpha_where_a_look_is_below_its_level():
    looks = (5, 10, 20)
    levels = nominal_levels(looks, 0.05)
    assert sequential_p([levels[0]], looks) == pytest.approx(0.05, rel=0.01)
    assert sequential_p([0.5, levels[1] * 0.9], looks) < 0.05 < sequential_p([0.5, levels[1] * 1.1], looks)
    assert sequential_p([levels[0], 0.9, 0.9], looks) == pytest.approx(0.05, rel=0.01)  # what was decided stays so
