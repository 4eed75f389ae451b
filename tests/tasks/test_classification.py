"""The classification task: what it pools, what it counts, and that runs of different norms are paired."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from app.backbones import BackboneConfig
from app.batches import DataSpec, TextBatch
from app.callbacks.reseed import reseed
from app.errors import InputError
from app.norms import NormSpec
from app.tasks import Classification
from app.tasks.base import totals
from app.tasks.optimization import OptimizerConfig, parameter_groups

OPTIONS = {
    "num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 16,
}  # fmt: skip


def task(norm="layernorm", seed=0, vocabulary="", counts=(), **options):
    data_spec = DataSpec({"vocab_size": 20, "pad_token_id": 0}, ("a", "b", "c"), counts, vocabulary=vocabulary)
    backbone = BackboneConfig("bert", OPTIONS)
    settings = {
        "backbone": backbone,
        "optimizer": OptimizerConfig(),
        "norm": NormSpec.parse(norm),
        "data_spec": data_spec,
    }
    return Classification(**{**settings, **options}, seed=seed)


def batch(rows, labels, width=None):
    width = width or max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return TextBatch(
        torch.arange(len(rows)), len(rows), False, ids, mask, torch.tensor(labels), sum(len(row) for row in rows)
    )


ROWS, LABELS = [[2, 7, 8, 3], [2, 9, 3]], [0, 2]


def test_weights_of_another_vocabulary_of_the_same_size_are_refused():
    checkpoint = {}
    task(vocabulary="one").on_save_checkpoint(checkpoint)
    task(vocabulary="one").on_load_checkpoint(checkpoint)
    with pytest.raises(InputError, match="of vocabulary one, this run has two"):
        task(vocabulary="two").on_load_checkpoint(checkpoint)
    task().on_save_checkpoint(earlier := {})  # as they were written before vocabularies were noted
    task(vocabulary="two").on_load_checkpoint(earlier)


def test_norms_that_cannot_be_replaced_are_counted_and_named():
    sizes = {"num_hidden_layers": 2, "hidden_size": 16, "state_size": 4, "num_heads": 4, "head_dim": 8, "n_groups": 1}
    model = task(backbone=BackboneConfig("mamba2", sizes))
    paths = [f"layers.{number}.mixer.norm" for number in range(2)]
    assert model.norm_report == (
        "norms replaced: 3 of 5 (all); 2 left as they are, because MambaRMSNormGated takes another input (gate) than "
        f"the one it normalizes: {', '.join(paths)}"
    )
    assert [row["path"] for row in model.site_rows if row["note"].startswith("left: ")] == paths


def test_training_without_norms_is_said():
    assert task("none").norm_report == "norms replaced: 5 of 5 (all) by none: the model trains without them"


def test_the_embedding_scale_is_said_has_no_decay_and_leaves_runs_paired():
    model = task({"name": "dyt", "embedding_scale": "auto"})
    assert model.norm_report == (
        "norms replaced: 5 of 5 (all); a learned factor, from 4, on the input of encoder.layer.0"
    )
    assert model.site_rows[-1]["new_norm"] == "embedding_scale(init=4)"
    decayed, plain = parameter_groups(model, OptimizerConfig())
    factor = model.model.encoder.layer[0].embedding_scale.weight
    assert [any(p is factor for p in group["params"]) for group in (decayed, plain)] == [False, True]
    assert model.initial_weights == task("dyt").initial_weights


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_padding_does_not_change_the_logits(pooling):
    model = task(pooling=pooling).eval()
    torch.testing.assert_close(model(batch(ROWS, LABELS)), model(batch(ROWS, LABELS, width=9)), atol=1e-6, rtol=1e-5)


def test_mean_pooling_is_the_mean_over_real_tokens():
    model = task(pooling="mean", classifier_dropout=0.0).eval()
    hidden = model.model(**batch(ROWS, LABELS).model_inputs()).last_hidden_state
    expected = torch.stack([hidden[0, :4].mean(0), hidden[1, :3].mean(0)])
    torch.testing.assert_close(model(batch(ROWS, LABELS)), model.classifier(expected))


def test_counts_are_sums_of_nats_and_of_hits():
    model = task().eval()
    data = batch(ROWS, LABELS)
    logits = model(data)
    counts = totals(model.evaluate(data))
    nats = -torch.log_softmax(logits, -1)[torch.arange(2), data.labels].sum()
    torch.testing.assert_close(counts["loss"][0], nats.double())
    assert counts["accuracy"][0] == sum(int(row.argmax()) == label for row, label in zip(logits, LABELS, strict=True))
    assert counts["loss"][1] == counts["accuracy"][1] == 2


def test_macro_f1_is_the_mean_over_the_classes_that_occur(monkeypatch):
    model = task(counts=(16, 11, 10)).eval()
    assert [metric.name for metric in model.metrics] == ["loss", "accuracy", "macro_f1"]
    labels, found = [0, 0, 0, 1, 1, 0], [0, 0, 1, 1, 0, 0]
    monkeypatch.setattr(model, "forward", lambda data: F.one_hot(data.input_ids[:, 0], 3).float())
    for begin, is_dummy in ((0, False), (3, False), (0, True)):
        part = slice(begin, begin + 3)
        data = batch([[hit] for hit in found[part]], labels[part])
        data.is_dummy = is_dummy
        model.evaluate(data, "test")
    expected = (2 * 3 / (4 + 4) + 2 * 1 / (2 + 2)) / 2  # 2 tp / (predicted + true), of classes 0 and 1
    assert model.derive("test", {}) == {"macro_f1": pytest.approx(expected)}
    assert task(counts=(15, 11, 10)).derive("test", {}) == {}  # not needed where classes are balanced


def test_smoothing_is_in_the_training_loss_alone():
    plain, smooth = task(), task(label_smoothing=0.2)
    data = batch(ROWS, LABELS)
    plain.eval(), smooth.eval()
    torch.testing.assert_close(totals(plain.evaluate(data))["loss"], totals(smooth.evaluate(data))["loss"])
    expected = F.cross_entropy(smooth(data), data.labels, reduction="sum", label_smoothing=0.2)
    torch.testing.assert_close(smooth.train_loss(data).objective, expected)
    torch.testing.assert_close(smooth.train_loss(data).nats.double(), plain.evaluate(data)["loss"][0].sum())


def test_every_trainable_parameter_gets_a_gradient():
    model = task("adanorm").train()
    model.train_loss(batch(ROWS, LABELS)).objective.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("norm", ["adanorm", "none", "detachnorm", "rmsnorm", "dyt"])
def test_for_one_seed_every_norm_starts_from_the_same_weights(norm):
    reference, other = (
        {name: p for name, p in task(which, seed=3).named_parameters() if "LayerNorm" not in name}
        for which in ("layernorm", norm)
    )
    assert reference.keys() == other.keys()
    assert all(torch.equal(p, other[name]) for name, p in reference.items())
    assert not torch.equal(reference["classifier.weight"], task(norm, seed=4).classifier.weight)


def test_building_a_task_leaves_the_random_state_as_it_was():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    task(seed=3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("norm", ["adanorm", "none"])
def test_for_one_step_every_norm_draws_the_same_dropout(norm):
    masks = []
    for which in ("layernorm", norm):
        model = task(which, seed=1).train()
        seen = []
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.register_forward_hook(lambda _, x, y, seen=seen: seen.append((y == 0) & (x[0] != 0)))
        reseed(1, 17, 17, 0)
        model(batch(ROWS, LABELS))
        masks.append(seen)
    assert len(masks[0]) == len(masks[1]) > 0
    assert any(mask.any() for mask in masks[0])
    assert all(torch.equal(a, b) for a, b in zip(*masks, strict=True))


@pytest.mark.parametrize("place", ["train_totals", "run_record"])
def test_counts_of_the_train_loss_continue_also_from_an_earlier_checkpoint(place):
    checkpoint = {}
    task().on_save_checkpoint(checkpoint)
    totals = {"loss": (6.0, 4), "smoothed_loss": (0.0, 0)}
    checkpoint[place] = totals if place == "train_totals" else {"train_totals": totals}
    model = task()
    model._trainer = SimpleNamespace(state=SimpleNamespace(fn="fit"), is_global_zero=True)
    model.on_load_checkpoint(checkpoint)
    assert model.take_train_scores() == {"train/loss": 1.5}


@pytest.mark.parametrize("family", ["bert", "roberta", "mpnet", "esm", "gpt2"])
def test_a_model_has_a_position_for_each_token_or_is_refused(family):
    options = {"gpt2": {"n_embd": 16, "n_head": 2, "n_layer": 1, "n_positions": 16}}.get(family, OPTIONS)
    for pad in (0, 3):
        spec = DataSpec({"vocab_size": 20, "pad_token_id": pad}, ("a", "b"), max_length=16)
        first = {"roberta": pad + 1, "mpnet": 2, "esm": pad + 1}.get(family, 0)
        if first:
            with pytest.raises(InputError, match=f"to {16 + first} or lower data.max_length to {16 - first}"):
                task(backbone=BackboneConfig(family, options), data_spec=spec)
            spec = dataclasses.replace(spec, max_length=16 - first)
        model = task(backbone=BackboneConfig(family, options), data_spec=spec).eval()
        with torch.no_grad():
            assert model(batch([[5] * spec.max_length], [0])).isfinite().all()
