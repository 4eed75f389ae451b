"""Hand-made series against values computed by hand."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from app.callbacks import OverfittingGap
from app.callbacks.diagnostics.overfitting_statistics import gaps, noise, onset, overfitting_summary
from app.metrics.info import ACCURACY, LOSS


def events(train, validation, steps=10):
    """A validation an epoch, `steps` updates apart; accuracy is what is missing to a loss of 2."""
    return [
        {
            "step": steps * number, "epoch": number, "val/loss": v, "train_probe/loss": t, "gap/loss": v - t,
            "val/accuracy": 2 - v, "train_probe/accuracy": 2 - t, "gap/accuracy": v - t,
        }
        for number, (t, v) in enumerate(zip(train, validation, strict=True), start=1)
    ]  # fmt: skip


OVERFITS = events([1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2], [1.2, 1.0, 0.9, 0.9, 1.0, 1.3, 1.5])
NOISE = 0.1 * 1.4826 / 6**0.5  # second differences 0.1, 0.1, 0.1, 0.2, -0.1: their median is 0.1; four times: 0.242


def test_gap_is_positive_when_training_examples_score_better():
    scores = {"val/loss": 0.7, "train_probe/loss": 0.5, "val/accuracy": 0.75, "train_probe/accuracy": 0.9}
    assert gaps(scores) == {"gap/loss": pytest.approx(0.2), "gap/accuracy": pytest.approx(0.15)}


def test_no_probe_no_gap():
    assert gaps({"val/loss": 0.7, "val/accuracy": 0.75}) == {}


def test_noise_is_that_of_second_differences():
    assert noise([5.0, 4.0, 3.0, 2.0, 1.0]) == 0  # a straight line has none
    assert noise([0.0, 1.0, 0.0, 1.0, 0.0]) == pytest.approx(1.4826 * 2 / 6**0.5)
    assert noise([1.0, 0.0, 1.0, 2.0, 3.0]) == 0  # one bend is no noise
    assert noise([1.0, 2.0, 1.0, 2.0]) is None


def test_onset_is_where_the_rise_exceeds_the_noise_while_train_loss_falls():
    began = onset(OVERFITS, LOSS)
    assert (began["epoch"], began["step"], began["best_epoch"]) == (6, 60, 3)
    assert began["noise"] == pytest.approx(NOISE)
    assert (began["best_value"], began["value"]) == (0.9, 1.3)
    assert (began["train_loss_then"], began["train_loss"]) == (0.6, 0.3)
    assert onset(OVERFITS, ACCURACY)["epoch"] == 6  # the same series, upside down
    assert onset(OVERFITS[:6], LOSS) is None  # one validation alone may be noise


def test_pure_noise_is_rarely_called_overfitting_and_a_rise_is():
    rng, falling = np.random.default_rng(0), np.linspace(1, 0, 15)
    alarms = sum(onset(events(falling, 1 + 0.01 * rng.normal(size=15)), LOSS) is not None for _ in range(200))
    assert alarms <= 20
    rise = np.maximum(0.02 * (np.arange(15) - 5), 0)
    found = [onset(events(falling, 1 + rise + 0.01 * rng.normal(size=15)), LOSS) for _ in range(50)]
    assert all(found) and all(7 <= began["epoch"] <= 11 for began in found)


def test_a_rise_within_the_noise_is_none():
    assert onset(events([1.0, 0.9, 0.8, 0.7, 0.6, 0.5], [1.0, 0.8, 1.0, 0.8, 1.0, 0.85]), LOSS) is None


def test_a_rise_of_both_losses_is_none():
    assert onset(events([0.5, 0.4, 0.6, 0.7, 0.8], [0.6, 0.5, 0.7, 0.9, 1.1]), LOSS) is None


def test_too_few_validations_tell_nothing():
    assert onset(OVERFITS[:4], LOSS) is None


def test_the_summary_has_gap_area_rise_noise_and_onset():
    summary = overfitting_summary(OVERFITS, [LOSS, ACCURACY], best_step=30, steps_per_epoch=10)
    assert summary["best"] == {"loss": pytest.approx(0.3), "accuracy": pytest.approx(0.3)}
    assert summary["final"] == {"loss": pytest.approx(1.3), "accuracy": pytest.approx(1.3)}
    # gaps 0.2 0.2 0.3 0.4 0.6 1.0 1.3 at epochs 1 to 7: by trapezoids 0.2 + 0.25 + 0.35 + 0.5 + 0.8 + 1.15
    assert summary["area"] == {"loss": pytest.approx(3.25), "accuracy": pytest.approx(3.25)}
    assert summary["rise"] == {"loss": pytest.approx(0.6), "accuracy": pytest.approx(0.6)}
    assert summary["noise"]["loss"] == pytest.approx(NOISE)
    assert summary["onset"]["loss"] == onset(OVERFITS, LOSS)


def test_area_is_in_epochs_wherever_the_validations_stand():
    flat = [{"step": step, "epoch": 2, "val/loss": 1.0, "gap/loss": 0.1} for step in (50, 100, 150)]
    assert overfitting_summary(flat, [LOSS], None, steps_per_epoch=100)["area"]["loss"] == pytest.approx(0.1)


def test_a_run_without_validation_has_nothing_to_say():
    summary = overfitting_summary(
        [{"step": 1, "epoch": 1, "train/loss": 2.0}], [LOSS], best_step=None, steps_per_epoch=10
    )
    assert summary == {
        "best": {}, "final": {}, "area": {"loss": 0.0}, "rise": {"loss": 0.0}, "noise": {"loss": None},
        "onset": {"loss": None},
    }  # fmt: skip


def test_a_run_that_overfits_says_so_once_also_when_it_was_resumed(caplog):
    caplog.set_level(logging.INFO)
    longer = [*OVERFITS, {**OVERFITS[-1], "step": 80, "epoch": 8, "val/loss": 1.7, "train_probe/loss": 0.1}]
    callback = OverfittingGap()
    for event in longer:
        trainer = SimpleNamespace(
            sanity_checking=False, state=SimpleNamespace(fn="fit"), loggers=[], is_global_zero=True,
            current_epoch=event["epoch"] - 1, global_step=event["step"],
        )  # fmt: skip
        resumed = OverfittingGap()
        resumed.load_state_dict(callback.state_dict())
        callback = resumed
        callback.on_validation_end(trainer, SimpleNamespace(scores=event))
    (message,) = [record.message for record in caplog.records]
    assert message.startswith("overfitting since epoch 6: validation loss 1.3000 is 0.4000 above its minimum, in epoch")
    assert "epoch 3" in message and "from 0.6000 to 0.3000" in message
