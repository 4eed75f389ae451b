"""Which trials a study needs next: tuning that is chosen on validation, fresh seeds, looks; on made-up results."""

import json
import math

import pytest
import yaml

from app.errors import InputError
from app.study.analysis.analyse import analyse
from app.study.plan import read_study
from app.study.plan.flags import value_in
from app.study.schedule import needed
from app.study.tuning import tuning_results
from tests.study.made_up import result as made_up

LR = "model.optimizer.lr"
BEST = {"layernorm": 3e-4, "adanorm": 1e-2, "none": 1e-3}  # where the made-up accuracy is highest
PLAN = {
    "norms": list(BEST), "seeds": [1, 2, 3], "axes": {LR: [1e-4, 3e-4, 1e-3]}, "tune": [LR], "tuning_seeds": [101, 102],
}  # fmt: skip


@pytest.fixture
def plan(tmp_path):
    def plan(**changes):
        (tmp_path / "rt.yaml").write_text(yaml.safe_dump({"model": {"init_args": {"optimizer": {"lr": 3e-4}}}}))
        content = {"configs": [str(tmp_path / "rt.yaml")], **PLAN, **changes}
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
        return read_study(tmp_path / "study.yaml")

    return plan


def run(study, root, most=10**6, diverges=lambda trial: False):
    """Make up the results of the trials that are needed, as a runner would, until none is; how many were made."""
    made = 0
    while waiting := [trial for trial in needed(study, root).runs if not trial.root.exists()][: most - made]:
        for trial in waiting[:2]:
            write(trial, diverges(trial))
            made += 1
    return made


def write(trial, diverges=False):
    norm = trial.variant.norm.name
    lr = trial.tuned.get(LR, 3e-4)
    accuracy = 0.8 - 0.02 * math.log(lr / BEST[norm]) ** 2 + 0.001 * (trial.seed % 7)
    result = {
        "schema": 2, "status": "diverged" if diverges else "finished", "task": "classification", "dataset": "rt",
        "seed": trial.seed, "primary_metric": {"name": "accuracy", "mode": "max"},
        "test": None if trial.phase == "tune" else {"accuracy": 0.1},
        "best": {"val": {"accuracy": accuracy}}, "cost": {"elapsed_s": 30.0},
    }  # fmt: skip
    folder = trial.root / "classification/rt/bert" / trial.variant.norm.label / f"seed{trial.seed}"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result))


def test_values_are_chosen_on_validation_and_compared_at_three_places_with_fresh_seeds(plan, tmp_path):
    study = plan()
    first = needed(study, tmp_path)
    tuning = [trial for trial in first.trials if trial.phase == "tune"]
    assert first.total is None and "the tuning of model.optimizer.lr chooses further runs" in first.words
    assert len(tuning) == 3 * 3 * 2 and {trial.seed for trial in tuning} == {101, 102}
    assert {trial.condition.label for trial in first.trials[len(tuning) :]} == {"rt, common lr=0.0003"}
    run(study, tmp_path)
    last = needed(study, tmp_path)
    scored = [trial for trial in last.trials if trial.phase == "score"]
    tuned = [trial for trial in last.trials if trial.phase == "tune"]
    # adanorm's best was at the end of the range, which two steps, for all variants, have extended to 0.0111
    assert last.words == "" and last.total == len(last.runs)
    assert sorted({trial.tuned[LR] for trial in tuned}) == [1e-4, 3e-4, 1e-3, 3.33e-3, 1.11e-2]
    assert len({sum(trial.variant == one for trial in tuned) for one in study.variants}) == 1
    labels = list(dict.fromkeys(trial.condition.label for trial in scored))
    assert labels == ["rt, common lr=0.0003 and the baseline's best lr=0.0003", "rt, each at its best lr"]
    own = {trial.variant.norm.name: trial.tuned[LR] for trial in scored if trial.condition.label == labels[1]}
    assert own == {"layernorm": 3e-4, "adanorm": 1.11e-2, "none": 1e-3}
    roots = {label: {t.root for t in scored if t.condition.label == label} for label in labels}
    assert len(roots[labels[0]]) == len(roots[labels[1]]) == 9 and len(roots[labels[0]] & roots[labels[1]]) == 3
    assert not {trial.seed for trial in scored} & {trial.seed for trial in tuned}
    assert all("--test_after_fit false" in trial.command for trial in tuned)
    assert not any("--test_after_fit" in trial.command for trial in scored)


def test_the_result_of_tuning_has_optimum_sensitivity_budget_and_divergences(plan, tmp_path):
    study = plan(grow=0)
    run(study, tmp_path, diverges=lambda trial: trial.variant.norm.name == "none" and trial.tuned[LR] == 1e-3)
    (found,) = tuning_results(study, needed(study, tmp_path).trials)
    layernorm, adanorm, none = found.tuned
    assert found.common == {LR: 3e-4} and found.keys == (LR,) and found.metric.name == "accuracy"
    assert layernorm.best == {LR: 3e-4} and not layernorm.on_edge
    assert layernorm.optimum.value == pytest.approx(3e-4, rel=1e-6)  # its made-up scores are a quadratic
    assert adanorm.best == {LR: 1e-3} and adanorm.on_edge and adanorm.sensitivity > layernorm.sensitivity
    assert none.best == {LR: 3e-4} and none.points[2].diverged == 2 and math.isnan(none.points[2].mean)
    assert {(one.runs, one.seconds) for one in found.tuned} == {(6, 180.0)}
    assert layernorm.curve[-1].expected == pytest.approx(80 + 0.1 * max(101 % 7, 102 % 7))
    assert [(n, variant.label) for n, variant in found.leads] == [(1, "layernorm")]
    assert found.words[3] == "expected best of n tries: layernorm leads from n = 1"
    assert "best at lr=0.001, the end of the range" in found.words[1] and "2 diverged" in found.words[2]


def test_a_variant_without_a_value_is_compared_where_the_others_are(plan, tmp_path):
    study = plan(grow=1)
    run(study, tmp_path, diverges=lambda trial: trial.variant.norm.name == "none")
    own = [t.variant.norm.name for t in needed(study, tmp_path).trials if t.condition.at == "each at its best lr"]
    assert sorted(set(own)) == ["adanorm", "layernorm"]
    (found,) = tuning_results(study, needed(study, tmp_path).trials)
    assert found.tuned[2].best is None and found.tuned[2].curve == () and "no value without" in found.words[2]


def test_a_claim_is_answered_where_each_variant_is_at_its_own_best(plan, tmp_path):
    study = plan(norms=["layernorm", "adanorm"], grow=0)
    run(study, tmp_path)
    trials = needed(study, tmp_path).trials
    for trial in trials:
        if trial.phase == "score":  # AdaNorm is worse at the common rate, and better at its own
            at_best = {"layernorm": 75, "adanorm": (77 if trial.tuned[LR] == 1e-3 else 72) + 0.1 * (-1) ** trial.seed}
            score = at_best[trial.variant.norm.name]
            next(trial.root.rglob("result.json")).write_text(json.dumps(made_up(trial.seed, score)))
    (answer,) = [one for one in analyse(study, trials).answers if one.title.startswith("AdaNorm does better")]
    assert [finding.verdict for finding in answer.findings] == ["contradicted", "supported"]
    assert answer.verdict == "supported" and len(answer.details) == 2
    assert answer.words.startswith("At each variant's own best model.optimizer.lr: adanorm(k=0.1,scale=1) does better")


def test_controls_are_not_tuned(plan, tmp_path):
    study = plan(controls=True, grow=0)
    tuning = {t.variant.label for t in needed(study, tmp_path).trials if t.phase == "tune"}
    assert tuning == {variant.label for variant in study.variants if not variant.control}


def test_a_study_without_tuning_needs_its_plan(plan, tmp_path):
    study = plan(axes={}, tune=[], tuning_seeds=None)
    found = needed(study, tmp_path)
    assert found.trials == found.runs == study.trials(tmp_path) and found.total == 9 and found.words == ""


def test_the_common_value_is_what_the_config_has(plan, tmp_path):
    assert value_in(["configs/quickstart.yaml"], LR) == 3e-4  # in the file of its model
    assert value_in(["configs/quickstart.yaml"], "trainer.max_epochs") == 5
    for overrides, common in (({LR: 0.5}, 0.5), ({}, 3e-4)):
        study = plan(overrides=overrides)
        assert study.common(study.conditions[0]) == {LR: common}
    with pytest.raises(InputError, match="config rt does not set model.optimizer.lr, and all variants are also"):
        plan(overrides={"model": "configs/models/bert_4x128.yaml"})  # another model than the config's
    for text in ("model: {class_path: X}\n", "seed_everything: 1\n"):
        (tmp_path / "b.yaml").write_text(text)
        files = [str(tmp_path / "rt.yaml"), str(tmp_path / "b.yaml")]
        assert value_in(files, LR) == (None if "class_path" in text else 3e-4)


def test_after_a_look_only_what_is_not_decided_gets_further_seeds(plan, tmp_path):
    """AdaNorm is far better from the start; `none` is as good as LayerNorm, up to noise, and no margin says so."""
    accuracy = {"layernorm": 75.0, "adanorm": 80.0, "none": 75.1}
    noise = (0.3, -0.2, 0.1, -0.4, 0.25, -0.1, 0.35, -0.3, 0.05, -0.05)
    plain = {"axes": {}, "tune": [], "tuning_seeds": None, "claims": [], "margin": {"accuracy": 0.01}}
    study = plan(seeds=list(range(1, 11)), looks=[5, 10], **plain)

    def run_all():
        for trial in needed(study, tmp_path).runs:
            folder = trial.root / "classification/rt/bert-4x128" / trial.variant.norm.label / f"seed{trial.seed}"
            if not folder.exists():
                name = trial.variant.norm.name
                score = accuracy[name] + noise[trial.seed * 3 % 10] * {"layernorm": 0.5, "adanorm": 1, "none": -1}[name]
                folder.mkdir(parents=True)
                (folder / "result.json").write_text(json.dumps(made_up(trial.seed, 0, test={"accuracy": score / 100})))

    first = needed(study, tmp_path)
    assert len(first.trials) == 15 and first.total is None
    assert first.words == "after 5 seeds, up to 5 more for variants that are not decided by then"
    run_all()
    second = needed(study, tmp_path)
    assert second.words == "" and second.total == 25 and second.trials[:15] == first.trials
    assert {trial.variant.norm.name for trial in second.trials[15:]} == {"layernorm", "none"}
    run_all()
    assert needed(study, tmp_path) == second
