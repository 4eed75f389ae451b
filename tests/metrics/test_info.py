"""What is declared of a metric is what gaps, studies and plots go by."""

import pytest

from app.callbacks.diagnostics.overfitting_statistics import gaps, overfitting_summary
from app.metrics import MetricInfo, baseline_of, baselines_not_beaten, declare_metric, metric_info
from app.metrics.info import UAS

ERROR_RATE = declare_metric(MetricInfo("error_rate", "error rate", higher_is_better=False, is_share=True))


def scores(name, validation, train):
    return {f"val/{name}": validation, f"train_probe/{name}": train}


def test_a_new_metric_has_a_gap_of_the_right_sign():
    assert gaps(scores("error_rate", 0.3, 0.1)) == {"gap/error_rate": pytest.approx(0.2)}
    assert gaps(scores("accuracy", 0.7, 0.9)) == {"gap/accuracy": pytest.approx(0.2)}


def test_a_metric_that_was_not_declared_has_no_gap_rather_than_one_of_a_guessed_sign():
    assert metric_info("surprise") is None
    assert gaps(scores("surprise", 0.7, 0.9)) == {}


def test_a_new_metric_is_best_where_it_is_lowest():
    events = [
        {"step": step, "epoch": step, **scores("error_rate", value, 0.1), "train_probe/loss": 1.0 / step}
        for step, value in enumerate([0.5, 0.4, 0.3, 0.302, 0.45, 0.6, 0.75], start=1)
    ]
    summary = overfitting_summary(events, [ERROR_RATE], best_step=3, steps_per_epoch=1)
    assert summary["rise"]["error_rate"] == pytest.approx(0.45)


@pytest.mark.parametrize(("name", "base"), [("uas_without_punct", "uas"), ("bpc_of_gzip", "bpc"), ("chrf", "chrf")])
def test_variants_of_a_metric_have_its_direction(name, base):
    found, expected = metric_info(name), metric_info(base)
    assert found is not None and expected is not None and found.name == name
    assert (found.higher_is_better, found.is_share) == (expected.higher_is_better, expected.is_share)
    assert metric_info("uas_without_punct").label == "UAS without punct"


def test_a_model_is_compared_with_baselines_in_the_direction_of_the_metric():
    scores = {
        "accuracy": 0.5, "accuracy_of_majority": 0.5, "accuracy_of_naive_bayes": 0.4, "bpc": 2.0, "bpc_of_gzip": 2.5,
        "bpc_of_bzip2": 1.9, "uas": 0.6, "uas_of_next": 0.5, "uas_without_punct": 0.6, "uas_of_next_without_punct": 0.7,
        "share_of_words": 1.0, "bleu_of_copy": 3.0,
    }  # fmt: skip
    assert baselines_not_beaten(scores) == {
        "accuracy_of_majority": "accuracy", "bpc_of_bzip2": "bpc", "uas_of_next_without_punct": "uas_without_punct",
    }  # fmt: skip
    assert baseline_of("share_of_words") is None  # of a user's own metric


def test_a_second_meaning_of_a_name_is_refused():
    assert declare_metric(UAS) is UAS
    with pytest.raises(ValueError, match="'uas' is declared already"):
        declare_metric(MetricInfo("uas", "something else", higher_is_better=False))


def test_what_a_run_keeps_of_a_metric_gives_it_back():
    assert MetricInfo.from_dict(ERROR_RATE.to_dict()) == ERROR_RATE
    assert MetricInfo.from_dict({"name": "uas", "mode": "max"}) == UAS  # as runs of earlier versions kept it
    assert MetricInfo.from_dict({"name": "surprise", "mode": "min"}) == MetricInfo("surprise", "surprise", False)
