"""What RunCheckpoint keeps and drops."""

from types import SimpleNamespace

import pytest

from app.callbacks import RunCheckpoint
from app.errors import InputError
from app.runs.folder import kept_weights, weights_name


def trainer(folder, step=0):
    return SimpleNamespace(
        is_global_zero=True, default_root_dir=str(folder), global_step=step, sanity_checking=False,
        state=SimpleNamespace(fn="fit"), fast_dev_run=False,
    )  # fmt: skip


def test_a_run_that_goes_on_drops_weights_of_steps_that_it_makes_again(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for step in (90, 600, 1000, 20000):
        (tmp_path / "checkpoints" / weights_name(step)).touch()
    callback = RunCheckpoint("val/bleu", "max", keep_weights=3)
    callback.on_train_start(trainer(tmp_path, step=600), None)
    callback.teardown(None, None, "fit")
    assert [path.name for path in kept_weights(tmp_path / "checkpoints")] == [weights_name(90), weights_name(600)]


def test_a_validation_without_the_score_that_chooses_the_best_is_answered(tmp_path):
    task = SimpleNamespace(scores={"val/loss": 1.0})
    with pytest.raises(InputError, match="gave no val/bleu.*fraction"):
        RunCheckpoint("val/bleu", "max").on_validation_end(trainer(tmp_path), task)
