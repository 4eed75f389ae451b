"""k accumulated parts of a batch, of any sizes, give the gradient of the whole batch."""

import pytest
import torch

from app.backbones import BackboneConfig
from app.batches import DataSpec, TextBatch
from app.norms import NormSpec
from app.tasks import Classification
from app.tasks.optimization import OptimizerConfig


def task():
    options = {
        "num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip
    data_spec = DataSpec({"vocab_size": 30, "pad_token_id": 0}, ("a", "b"))
    model = Classification(
        backbone=BackboneConfig("bert", options), optimizer=OptimizerConfig(), norm=NormSpec.parse("adanorm"),
        data_spec=data_spec, classifier_dropout=0.0,
    )  # fmt: skip
    return model.double()


class OneProcess:
    """What a task asks of its trainer."""

    def __init__(self, world_size, accumulate):
        self.world_size, self.accumulate_grad_batches = world_size, accumulate


def gradients(parts, whole, world_size, accumulate):
    """Gradients after all parts, each divided as Lightning (accumulation) and DDP (processes) divide."""
    model = task()
    model._trainer = OneProcess(world_size, accumulate)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 30, (whole, 7), generator=generator)
    labels = torch.randint(0, 2, (whole,), generator=generator)
    begin = 0
    for size in parts:
        rows = slice(begin, begin + max(size, 1)) if size else slice(0, 1)
        batch = TextBatch(
            torch.arange(max(size, 1)), whole, size == 0, ids[rows], torch.ones_like(ids[rows]), labels[rows], 7 * size
        )
        (model.training_step(batch, 0) / (accumulate * world_size)).backward()
        begin += size
    assert begin == whole
    found = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    return found, model.take_train_scores()["train/loss"]


@pytest.mark.parametrize(
    ("parts", "world_size", "accumulate"),
    [([4, 4], 1, 2), ([7, 1], 1, 2), ([3, 5], 2, 1), ([8, 0], 2, 1), ([1, 2, 3, 2], 2, 2), ([6, 1, 1], 3, 1)],
)
def test_parts_give_the_gradient_of_the_whole(parts, world_size, accumulate):
    whole, loss = gradients([8], 8, 1, 1)
    cut, cut_loss = gradients(parts, 8, world_size, accumulate)
    assert cut_loss == pytest.approx(loss, rel=1e-14)
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient, rtol=0, atol=1e-12, msg=name)
