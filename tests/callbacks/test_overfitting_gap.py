"""Hand-made series against values computed by hand."""

import pytest

from app.callbacks.overfitting_gap import gaps, overfitting_summary


def events(train, validation, first_epoch=1):
    return [
        {
            "step": 10 * number,
            "epoch": number,
            "val/loss": v,
            "train_probe/loss": t,
            "gap/loss": v - t,
            "gap/accuracy": number / 100,
        }
        for number, (t, v) in enumerate(zip(train, validation, strict=True), start=first_epoch)
    ]


def test_gap_is_positive_when_training_examples_score_better():
    scores = {"val/loss": 0.7, "train_probe/loss": 0.5, "val/accuracy": 0.75, "train_probe/accuracy": 0.9}
    assert gaps(scores) == {"gap/loss": pytest.approx(0.2), "gap/accuracy": pytest.approx(0.15)}


def test_no_probe_no_gap():
    assert gaps({"val/loss": 0.7, "val/accuracy": 0.75}) == {}


def test_validation_turns_up_while_train_falls():
    summary = overfitting_summary(events([1.0, 0.8, 0.5, 0.3], [1.1, 0.9, 1.0, 1.3]), best_step=20)
    assert summary["turned_epoch"] == 2
    assert summary["rise_nats"] == pytest.approx(0.4)
    assert summary["best"] == {"loss": pytest.approx(0.1), "accuracy": 0.02}
    assert summary["final"] == {"loss": pytest.approx(1.0), "accuracy": 0.04}


def test_both_rising_is_not_overfitting():
    summary = overfitting_summary(events([0.5, 0.9], [0.6, 1.0]), best_step=10)
    assert summary["turned_epoch"] is None
    assert summary["rise_nats"] == pytest.approx(0.4)


def test_still_falling_has_no_turn_and_no_rise():
    summary = overfitting_summary(events([1.0, 0.8], [1.1, 0.9]), best_step=20)
    assert summary["turned_epoch"] is None and summary["rise_nats"] == 0


def test_a_run_without_validation_has_nothing_to_say():
    summary = overfitting_summary([{"step": 1, "epoch": 1, "train/loss": 2.0}], best_step=None)
    assert summary == {"best": {}, "final": {}, "turned_epoch": None, "rise_nats": 0.0}
