"""The mean of the weights of several checkpoints."""

import pytest
import torch

from app.errors import InputError
from app.runs.averaging import mean_checkpoint
from app.runs.folder import kept_weights, weights_name, weights_to_average


def save(folder, step, **weights):
    (folder / "checkpoints").mkdir(exist_ok=True)
    torch.save({"state_dict": weights, "task": {}, "global_step": step}, folder / "checkpoints" / weights_name(step))


def test_weights_are_averaged_and_counters_are_the_last(tmp_path):
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(3, 4, generator=generator) for _ in range(3)]
    for step, weight in zip((900, 1000, 10000), weights, strict=True):
        save(tmp_path, step, weight=weight, half=weight.bfloat16(), steps=torch.tensor(step))
    mean = mean_checkpoint(kept_weights(tmp_path / "checkpoints"))
    torch.testing.assert_close(mean["state_dict"]["weight"], torch.stack(weights).double().mean(0).float())
    assert mean["state_dict"]["half"].dtype == torch.bfloat16
    assert mean["state_dict"]["steps"] == mean["global_step"] == 10000


def test_the_mean_of_one_is_itself(tmp_path):
    save(tmp_path, 1, weight=torch.tensor([0.1, 1e-30, 3e38]))
    mean = mean_checkpoint(weights_to_average(tmp_path, 1))
    assert mean["state_dict"]["weight"].tolist() == torch.tensor([0.1, 1e-30, 3e38]).tolist()


def test_the_last_ones_are_taken_as_many_as_there_are(tmp_path):
    with pytest.raises(InputError, match="average_checkpoints 4.*keeps no weights"):
        weights_to_average(tmp_path, 4)
    for step in (5, 20, 100):
        save(tmp_path, step, weight=torch.zeros(1))
    assert [path.name for path in weights_to_average(tmp_path, 2)] == [weights_name(20), weights_name(100)]
    assert len(weights_to_average(tmp_path, 4)) == 3
