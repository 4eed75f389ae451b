"""Hand-made series against values computed by hand, and simulated runs against the rate of false alarms."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from app.callbacks import OverfittingGap
from app.callbacks.diagnostics.overfitting_statistics import gaps, onset, overfitting_summary, rise_since
from app.metrics.info import ACCURACY, LOSS
from tests.callbacks.diagnostics.false_alarms import SERIES, VALIDATIONS, flat_runs, is_said_to_overfit

TRAIN = [1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2]
RISES = [1.2, 1.0, 0.9, 0.9, 1.0, 1.3, 1.5]


def events(train, validation, steps=10, p=0.0):
    """A validation every `steps` updates, each an epoch; accuracy is what is missing to a loss of 2."""
    return [
        {
            "step": steps * number, "epoch": number, "val/loss": v, "train_probe/loss": t, "gap/loss": v - t,
            "val/accuracy": 2 - v, "train_probe/accuracy": 2 - t, "gap/accuracy": v - t,
            "rise/loss": v - min(validation[:number]), "rise/loss_se": 0.01,
            "rise/loss_p": p if v > min(validation[:number]) else 1.0,
        }
        for number, (t, v) in enumerate(zip(train, validation, strict=True), start=1)
    ]  # fmt: skip


OVERFITS = events(TRAIN, RISES)


def test_gap_is_positive_when_training_examples_score_better():
    scores = {"val/loss": 0.7, "train_probe/loss": 0.5, "val/accuracy": 0.75, "train_probe/accuracy": 0.9}
    assert gaps(scores) == {"gap/loss": pytest.approx(0.2), "gap/accuracy": pytest.approx(0.15)}


def test_no_probe_no_gap():
    assert gaps({"val/loss": 0.7, "val/accuracy": 0.75}) == {}


def test_a_rise_is_judged_by_the_paired_test_over_examples():
    rng = np.random.default_rng(0)
    before = rng.exponential(size=50)
    now = before + 0.05 + 0.1 * rng.normal(size=50)
    found, paired = rise_since(before, now, np.ones(50, int)), stats.ttest_rel(now, before, alternative="greater")
    assert found["rise/loss"] == pytest.approx((now - before).mean())
    assert found["rise/loss_se"] == pytest.approx(stats.sem(now - before))
    assert found["rise/loss_p"] == pytest.approx(paired.pvalue, rel=1e-9)
    units = rng.integers(1, 30, 50)  # of sentences of several lengths: a constant rise per unit is not noise
    assert rise_since(before, before + 0.1 * units, units) == {
        "rise/loss": pytest.approx(0.1), "rise/loss_se": pytest.approx(0, abs=1e-15), "rise/loss_p": pytest.approx(0),
    }  # fmt: skip
    assert rise_since(before, before, units) == {"rise/loss": 0.0, "rise/loss_se": 0.0, "rise/loss_p": 1.0}
    assert rise_since(before[:1], now[:1], units[:1]) == {}


def test_onset_is_the_first_of_the_validations_that_are_all_above_the_minimum_while_train_loss_falls():
    assert onset(OVERFITS) == {
        "epoch": 5, "step": 50, "value": 1.0, "standard_error": 0.01, "best_epoch": 3, "best_step": 30,
        "best_value": 0.9, "train_loss_then": 0.6, "train_loss": 0.4,
    }  # fmt: skip
    assert onset(OVERFITS[:5]) is None, "one validation alone is not enough"
    assert onset(OVERFITS[:6])["step"] == 50
    assert onset(events([0.5, 0.4, 0.6, 0.7, 0.8], [0.6, 0.5, 0.7, 0.9, 1.1])) is None, "the train loss rises, too"
    assert onset([{k: v for k, v in event.items() if k != "rise/loss_p"} for event in OVERFITS]) is None
    assert onset([]) is None


def test_a_rise_without_noise_is_an_onset_however_often_it_is_validated():
    """A parabola with its minimum at epoch 2 of 5, and a fall to epoch 3 with a rise of 0.2 in the two after it."""
    for every in (1, 0.5, 0.25):
        epochs = np.arange(every, 5 + every, every)
        found = onset(events(list(-epochs), list((epochs - 2) ** 2), steps=100 * every))
        assert (found["step"], found["best_step"]) == (100 * (2 + every), 200)
    assert onset(events([5, 4, 3, 2, 1], [1.0, 0.8, 0.6, 0.7, 0.8]))["epoch"] == 4


def test_later_validations_need_smaller_p_values_and_more_than_a_rise_that_was_recovered_from():
    limit = 0.05 / (6 * 5**2)  # at the sixth validation
    assert onset(events(TRAIN, RISES, p=0.9 * limit)[:6])["epoch"] == 5
    assert onset(events(TRAIN, RISES, p=1.1 * limit)[:6]) is None
    wavers = [1.0, 1.3, 0.9, 1.1, 1.2, 1.25, 1.4]
    assert onset(events(TRAIN, wavers)[:6]) is None
    assert onset(events(TRAIN, [*wavers[:5], 1.35, 1.4]))["epoch"] == 6


@pytest.mark.parametrize("series", SERIES)
def test_flat_losses_are_called_overfitting_in_at_most_one_run_of_twenty(series):
    runs = 200
    for validations in VALIDATIONS:
        nats, units = flat_runs(series, runs, validations, examples=150)
        assert sum(is_said_to_overfit(run, units) for run in nats) <= stats.binom.ppf(0.99, runs, 0.05)


def test_a_rise_beyond_the_noise_is_found():
    rng, units = np.random.default_rng(0), np.full(150, 10)
    trend = np.maximum(0, 0.3 * (np.arange(10) - 4))  # nats per unit, of noise 1 on each example: 0.12 on a difference
    noise = rng.normal(size=(20, 10, 150)) + trend[:, None]
    assert all(is_said_to_overfit((2 + run) * units, units) for run in noise)


def test_the_summary_has_gap_area_rise_and_onset():
    summary = overfitting_summary(OVERFITS, [LOSS, ACCURACY], best_step=30, steps_per_epoch=10)
    assert summary["best"] == {"loss": pytest.approx(0.3), "accuracy": pytest.approx(0.3)}
    assert summary["final"] == {"loss": pytest.approx(1.3), "accuracy": pytest.approx(1.3)}
    # gaps 0.2 0.2 0.3 0.4 0.6 1.0 1.3 at epochs 1 to 7: by trapezoids 0.2 + 0.25 + 0.35 + 0.5 + 0.8 + 1.15
    assert summary["area"] == {"loss": pytest.approx(3.25), "accuracy": pytest.approx(3.25)}
    assert summary["rise"] == {"loss": pytest.approx(0.6), "accuracy": pytest.approx(0.6)}
    assert summary["rise_se"] == {"loss": 0.01} and summary["onset"] == {"loss": onset(OVERFITS)}


def test_area_is_in_epochs_wherever_the_validations_stand():
    flat = [{"step": step, "epoch": 2, "val/loss": 1.0, "gap/loss": 0.1} for step in (50, 100, 150)]
    assert overfitting_summary(flat, [LOSS], None, steps_per_epoch=100)["area"]["loss"] == pytest.approx(0.1)


def test_a_run_without_validation_has_nothing_to_say():
    summary = overfitting_summary(
        [{"step": 1, "epoch": 1, "train/loss": 2.0}], [LOSS], best_step=None, steps_per_epoch=10
    )
    assert summary == {
        "best": {}, "final": {}, "area": {"loss": 0.0}, "rise": {"loss": 0.0}, "rise_se": {"loss": None},
        "onset": {"loss": None},
    }  # fmt: skip


def test_a_run_that_overfits_says_so_once_also_when_it_was_resumed(caplog):
    caplog.set_level(logging.INFO)
    noise, callback, recorded = 0.01 * np.random.default_rng(0).normal(size=(8, 20)), OverfittingGap(), []
    logger = SimpleNamespace(log_metrics=lambda metrics, step: recorded.append(metrics))
    noise -= noise.mean(1, keepdims=True)
    for number, (train, loss) in enumerate(zip([*TRAIN, 0.1], [*RISES, 1.7], strict=True)):
        trainer = SimpleNamespace(
            sanity_checking=False, state=SimpleNamespace(fn="fit"), loggers=[logger], is_global_zero=True,
            current_epoch=number, global_step=10 * number + 10,
        )  # fmt: skip
        resumed = OverfittingGap()
        resumed.load_state_dict(callback.state_dict())
        callback = resumed
        examples = {"val": {"nats": loss + noise[number], "units": np.ones(20, int)}}
        scores = {"val/loss": loss, "train_probe/loss": train}
        callback.on_validation_end(trainer, SimpleNamespace(scores=scores, examples=examples))
    (message,) = [record.message for record in caplog.records]
    assert message.startswith("overfitting since step 50 (epoch 5): validation loss 1.0000 is 0.1000 above its minimum")
    assert "at step 30 (epoch 3; the standard error is 0.00" in message and "from 0.6000 to 0.4000" in message
    assert [event["rise/loss"] for event in recorded] == pytest.approx([0, 0, 0, 0, 0.1, 0.4, 0.6, 0.8])
