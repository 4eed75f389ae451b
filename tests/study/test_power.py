"""What a study can show, said before it is run."""

import pytest

from app.errors import InputError
from app.study.__main__ import main
from app.study.power import power_lines
from tests.study.made_up import seeds


def test_a_stated_deviation_says_what_the_plan_can_show(made, tmp_path, capsys):
    made({"layernorm": {}, "adanorm": {}, "none": {}}, tuple(range(1, 11)))
    assert main(["power", str(tmp_path / "study.yaml"), "--study_root", str(tmp_path), "--sd", "accuracy=0.6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("10 seeds, 2 comparisons of scores, each tested at a level of 0.02")
    # one comparison alone shows 1.00 standard deviations with ten seeds, two with seeds as blocks 1.08
    assert "shows a difference of 0.65, or that two norms are equal within 0.67" in lines[2]
    assert lines[3].endswith("as large as the margin, 0.5, needs 16 seeds")
    assert lines[-1] == "cost: 0 of 30 trials done; how long one takes is not known yet"


def test_looks_cost_a_little_power(made):
    ten = tuple(range(1, 11))
    once, twice = (
        power_lines(*made({"layernorm": {}, "adanorm": {}}, ten, looks=looks), {"accuracy": 0.6})[0]
        for looks in ([10], [5, 10])
    )
    assert "at a level of 0.05;" in once and "at a level of 0.049;" in twice


def test_a_study_that_tunes_compares_at_three_values(made):
    plan = {"axes": {"model.optimizer.lr": [1e-4, 1e-3]}, "tune": ["model.optimizer.lr"], "tuning_seeds": [9]}
    plan |= {"overrides": {"model.optimizer.lr": 1e-3}, "controls": True}
    lines = power_lines(*made({"layernorm": {}, "adanorm": {}}, **plan), {"accuracy": 0.6})
    assert lines[0].startswith("4 seeds, 9 comparisons of scores")
    once = power_lines(*made({"layernorm": seeds(75), "adanorm": seeds(77)}), {"accuracy": 0.6})
    assert once[0].startswith("4 seeds, 1 comparison of scores") and once[-1] == "cost: 8 of 8 trials done"


def test_pilots_say_it_with_the_interval_of_their_deviation_and_the_cost(made, tmp_path):
    ours, theirs = seeds(75), seeds(77, 0.1)
    study, trials = made({"layernorm": ours, "adanorm": theirs}, (1, 2, 3, 4, 5, 6), margin={"accuracy": 0.1})
    lines = power_lines(study, trials, {})
    assert lines[1].startswith("accuracy on rt: paired differences vary by 0.058 between seeds, from 4 seeds")
    assert "shows a difference of 0.083 (0.047 to 0.309)" in lines[2] and lines[3].endswith("needs 5 seeds (4 to 39)")
    assert lines[-1] == "cost: 8 of 12 trials done; the other 4 will take about 4 minutes, one after the other"


def test_without_a_pilot_the_deviation_has_to_be_stated(made):
    study, trials = made({"layernorm": {}, "adanorm": {}})
    with pytest.raises(InputError, match="run some seeds first, or state it: --sd accuracy=0.6"):
        power_lines(study, trials, {})
    with pytest.raises(InputError, match="--sd acuracy=0.6: no metric has this name"):
        power_lines(study, trials, {"acuracy": 0.6})


@pytest.mark.parametrize("given", ["accuracy", "accuracy=", "accuracy=-1", "accuracy=nan"])
def test_a_deviation_is_a_metric_and_a_number(made, tmp_path, capsys, given):
    made({"layernorm": {}, "adanorm": {}})
    assert main(["power", str(tmp_path / "study.yaml"), "--sd", given]) == 2
    assert f"--sd is '{given}'; must be METRIC=VALUE" in capsys.readouterr().err
