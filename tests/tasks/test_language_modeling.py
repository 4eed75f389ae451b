"""The language modelling task: the past alone is seen, all of it, and the memory is what the whole text would give."""

import math

import pytest
import torch

from app.backbones import BackboneConfig
from app.batches import ByteBatch, DataSpec
from app.errors import InputError
from app.norms import NormSpec
from app.tasks import LanguageModeling
from app.tasks.base import totals
from app.tasks.optimization import OptimizerConfig

FAMILIES = {
    "xlnet": {"attn_type": "uni", "mem_len": 64, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32, "dropout": 0},
    "gpt2": {"n_positions": 24, "n_embd": 16, "n_layer": 2, "n_head": 2},
}
BASELINES = {"gzip": 2.5, "bzip2": 2.25}


def task(family="xlnet", norm="layernorm", seed=0, streams=None, options=None):
    streams = family == "xlnet" if streams is None else streams
    data_spec = DataSpec({"vocab_size": 256}, has_streams=streams, baselines=BASELINES)
    backbone = BackboneConfig(family, {**FAMILIES[family], **(options or {})})
    model = LanguageModeling(
        backbone=backbone, optimizer=OptimizerConfig(), norm=NormSpec.parse(norm), data_spec=data_spec, seed=seed
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # so that what is seen shows clearly
    return model


def batch(rows, begins=True, streams=True, is_dummy=False):
    data = torch.tensor(rows)  # (B, T + 1): each byte is predicted from those before
    stream = torch.arange(len(rows)) if streams else torch.full((len(rows),), -1)
    return ByteBatch(
        index=torch.arange(len(rows)),
        loss_denominator=data[:, 1:].numel(),
        is_dummy=is_dummy,
        input_ids=data[:, :-1],
        labels=data[:, 1:],
        stream=stream,
        begins=begins,
        target_bytes=data[:, 1:].numel(),
    )


TEXT = [list(b"\nthe old house and the dog"), list(b"\nno tree here, a red child")]


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_byte_is_predicted_from_all_before_it_and_none_after(family):
    model = task(family).double().eval()
    logits = model(batch([row[:20] for row in TEXT]))
    for place in (3, 11):
        changed = [list(row[:20]) for row in TEXT]
        changed[0][place] = 200
        moved = (model(batch(changed)) - logits).abs().amax(-1) > 1e-12
        assert not moved[0, :place].any() and moved[0, place:].all() and not moved[1].any()


@torch.no_grad()
def test_memory_carried_along_gives_what_the_whole_text_gives():
    model = task().double().eval()
    whole = model(batch(TEXT), "val")
    pieces = [
        model(batch([row[begin : begin + 6] for row in TEXT], begins=begin == 0), "test") for begin in range(0, 25, 5)
    ]
    torch.testing.assert_close(torch.cat(pieces, 1), whole[:, :25], rtol=0, atol=1e-12)


@torch.no_grad()
def test_each_part_has_a_memory_of_its_own_and_forgets_at_a_beginning():
    model = task().double().eval()
    first = model(batch([row[:11] for row in TEXT]), "val")
    model(batch([row[10:] for row in TEXT], begins=False), "val")
    model(batch([[7] * 11, [9] * 11]), "train_probe")
    assert torch.equal(model(batch([row[:11] for row in TEXT]), "val"), first)
    assert not torch.equal(model(batch([row[:11] for row in TEXT], begins=False), "val"), first)


def test_counts_are_sums_of_nats_and_bits_are_derived():
    model = task().double().eval()
    with torch.no_grad():
        counts = totals(model.evaluate(batch(TEXT), "val"))
        logits = model(batch(TEXT), "val")
    labels = torch.tensor(TEXT)[:, 1:]
    nats = -logits.log_softmax(-1).gather(2, labels.unsqueeze(2)).sum()
    torch.testing.assert_close(counts["loss"][0], nats)
    assert counts["loss"][1] == 50
    scores = model.derive("test", {"loss": 2.0})
    assert scores["bpc"] == pytest.approx(2 / math.log(2)) and scores["byte_perplexity"] == pytest.approx(math.e**2)
    assert model.derive("val", {"loss": 2.0}).keys() == {"bpc", "byte_perplexity"}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_trainable_parameter_gets_a_gradient(family):
    model = task(family, "adanorm").train()
    model.train_loss(batch([row[:20] for row in TEXT])).objective.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("norm", ["adanorm", "none", "detachnorm"])
@pytest.mark.parametrize("family", FAMILIES)
def test_for_one_seed_every_norm_starts_from_the_same_weights(family, norm):
    assert task(family, seed=3).initial_weights == task(family, norm, seed=3).initial_weights
    assert task(family, seed=3).initial_weights != task(family, norm, seed=4).initial_weights


@torch.no_grad()
def test_predictions_are_prompt_and_continuation():
    model = task().eval()
    prediction, *_ = model.predict_step(batch(TEXT), 0)
    assert prediction.index == 0 and prediction.known["prompt"] == "the old house and the do"
    assert prediction.answer == prediction.known["continuation"] != ""


def test_a_model_that_looks_ahead_is_refused():
    with pytest.raises(InputError, match="'xlnet', as configured, looks at the bytes.*attn_type uni"):
        task(options={"attn_type": "bi"})
    bert = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    others = {
        "optimizer": OptimizerConfig(),
        "norm": NormSpec.parse("adanorm"),
        "data_spec": DataSpec({"vocab_size": 256}),
    }
    causal, looking_ahead = (BackboneConfig("bert", {**bert, "is_decoder": decoder}) for decoder in (True, False))
    assert LanguageModeling(backbone=causal, **others)
    with pytest.raises(InputError, match="'bert'.*looks at the bytes"):
        LanguageModeling(backbone=looking_ahead, **others)


def test_options_that_the_model_cannot_compute_with_are_refused(monkeypatch):
    monkeypatch.setitem(FAMILIES, "gptj", {"n_embd": 16, "n_layer": 1, "n_head": 2, "rotary_dim": 64})
    with pytest.raises(InputError, match="'gptj' with norm layernorm_simple is refused.*must match"):
        task("gptj", norm="layernorm_simple", streams=False)


def test_streams_need_a_memory():
    with pytest.raises(InputError, match="data.memory is true.*'gpt2' has no memory"):
        task("gpt2", streams=True)
    with pytest.raises(InputError, match="no memory"):
        task("xlnet", options={"mem_len": 0})
