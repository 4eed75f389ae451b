"""The dry run before the first step: whose answers depend on padding, and what a model refuses or does not see."""

import re
from contextlib import nullcontext

import pytest
import torch

from app.backbones import BackboneConfig
from app.batches import DataSpec, ImageBatch, TextBatch
from app.callbacks.diagnostics.norm_hooks import norms_of
from app.errors import InputError
from app.norms import NormSpec
from app.tasks import Classification
from app.tasks.dry_run import dry_run
from app.tasks.optimization import OptimizerConfig
from tests.backbones.families import OPTIONS
from tests.tasks import test_dependency_parsing, test_language_modeling, test_translation

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
NO_FFN = {key: size for key, size in SIZES.items() if key != "intermediate_size"}
NO_HEADS = {key: size for key, size in SIZES.items() if "heads" not in key}
HEEDFUL = {family: options for family, options in OPTIONS.items() if family not in ("vit", "t5", "marian", "mbart")} | {
    "mpnet": SIZES, "layoutlm": SIZES, "esm": SIZES, "megatron-bert": SIZES,
    "longformer": {**SIZES, "attention_window": 4}, "mamba": NO_HEADS,
    "opt": {**NO_FFN, "ffn_dim": 16, "word_embed_proj_dim": 16},
}  # fmt: skip
READS_PADDING = {"fnet": NO_HEADS, "convbert": SIZES, "canine": SIZES, "nystromformer": SIZES}
ROWS = [[2, 7, 8, 3], [2, 9, 11, 5, 17, 4, 12, 3]]


def classifier(model_type, options, norm="layernorm", **settings):
    spec = DataSpec(
        {"vocab_size": 40, "pad_token_id": 0, "image_size": 16, "num_channels": 1}, ("a", "b"), max_length=8
    )
    return Classification(
        backbone=BackboneConfig(model_type, options), optimizer=OptimizerConfig(), norm=NormSpec.parse(norm),
        data_spec=spec,
        **settings,
    )  # fmt: skip


def texts(rows):
    ids = torch.tensor([row + [0] * (max(map(len, rows)) - len(row)) for row in rows])
    return TextBatch(torch.arange(len(rows)), len(rows), False, ids, (ids > 0).long(), torch.zeros(len(rows)).long(), 9)


def batches():
    return texts(ROWS), texts(ROWS[:1])


def images(count):
    return ImageBatch(
        torch.arange(count),
        count,
        False,
        torch.linspace(0, 1, 512).reshape(2, 1, 16, 16)[:count],
        torch.zeros(count).long(),
    )


@pytest.mark.parametrize("family", HEEDFUL)
def test_an_answer_does_not_depend_on_the_batch_and_the_dry_run_leaves_no_trace(family):
    task = classifier(family, HEEDFUL[family])
    before, state = {name: value.clone() for name, value in task.state_dict().items()}, torch.get_rng_state()
    dry_run(task, *batches())
    assert all(module.training for module in task.modules()) and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    with torch.no_grad():
        for pooling in ("mean", "first", "last"):
            task.eval().pooling = pooling
            alone = torch.cat([task(texts([row])) for row in ROWS])
            torch.testing.assert_close(task(texts(ROWS)), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", READS_PADDING)
def test_a_model_that_reads_padding_is_refused_unless_there_is_none(family):
    task = classifier(family, READS_PADDING[family])
    with pytest.raises(InputError, match=f"'{family}' with norm layernorm reads padding.*data.batch_size 1"):
        dry_run(task, *batches())
    dry_run(task, texts(ROWS[:1]), texts(ROWS[:1]))


def test_attention_that_needs_a_gpu_is_not_run():
    task = classifier("fnet", READS_PADDING["fnet"])
    task.model.config._attn_implementation_internal = "flash_attention_2"
    assert dry_run(task, *batches()) == []


@pytest.mark.parametrize("family", ["gpt2", "llama", "mamba", "opt"])
def test_a_causal_model_cannot_pool_its_first_position(family):
    with pytest.raises(InputError, match="pooling is first.*causal.*last"):
        dry_run(classifier(family, HEEDFUL[family], pooling="first"), *batches())


@pytest.mark.parametrize("family", ["bert", "xlnet", "longformer", "deberta-v2"])
def test_another_model_can(family):
    unreached = dry_run(classifier(family, HEEDFUL[family], pooling="first"), *batches())
    assert all("_global." in name for name in unreached)  # longformer's, of which classification makes no use


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_pixels_that_no_patch_covers_are_an_error_that_names_patches_that_do(pooling):
    message = "does not see 2 of the rows and 2 of the columns of the 16 x 16 images: patch_size 7.*1, 2, 4, 8, 16"
    with pytest.raises(InputError, match=message):
        dry_run(classifier("vit", {**SIZES, "patch_size": 7}, pooling=pooling), images(2), images(1))
    dry_run(classifier("vit", {**SIZES, "patch_size": 8}, pooling=pooling), images(2), images(1))


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("deit", {**SIZES, "patch_size": 4}),
        ("beit", {**SIZES, "patch_size": 4}),
        ("dinov2", {**NO_FFN, "patch_size": 4}),
        ("swin", {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "patch_size": 2}),
        ("convnet", {"channels": [4, 4]}),
        ("convnet", {"channels": [4, 4, 4]}),
    ],
)
def test_other_image_models_see_all(family, options):
    unreached = dry_run(classifier(family, options), images(2), images(1))
    assert all(name.endswith("mask_token") for name in unreached)  # dinov2's, for pretraining


@pytest.mark.parametrize(
    ("family", "options", "norm", "said"),
    [
        ("gptj", {"n_embd": 16, "n_layer": 1, "n_head": 2, "rotary_dim": 64}, "layernorm", "n_head=2.*the norm"),
        ("t5", OPTIONS["t5"], "layernorm", "You must specify"),
        ("pegasus", OPTIONS["bart"], "layernorm", "decoder"),
    ],
)
def test_what_only_a_forward_pass_refuses_is_one_line(family, options, norm, said):
    with pytest.raises(InputError, match=f"'{family}' with norm {re.escape(norm)} cannot compute a batch.*{said}"):
        dry_run(classifier(family, options, norm), *batches())


def test_a_model_that_reads_the_gain_of_its_norms_computes_with_a_norm_that_has_none():
    assert dry_run(classifier("mamba", NO_HEADS, "layernorm_simple"), *batches()) == []


def test_parameters_without_a_gradient_are_named():
    assert not dry_run(classifier("bert", SIZES), *batches())
    names = dry_run(classifier("longformer", HEEDFUL["longformer"]), *batches())
    assert names and all("_global" in name for name in names)


@pytest.mark.parametrize("family", test_translation.FAMILIES)
def test_translations_do_not_depend_on_padding(family):
    sources, targets = test_translation.SOURCES[::-1], test_translation.TARGETS[::-1]
    pairs = [test_translation.batch(sources[:count], targets[:count]) for count in (2, 1)]
    assert not dry_run(test_translation.task(family), *pairs)


def test_norms_are_in_the_order_of_the_forward_pass():
    task = test_translation.task("mbart")  # registers layernorm_embedding after its layers, and applies it before them
    dry_run(task, *(test_translation.batch(test_translation.SOURCES[:n], test_translation.TARGETS[:n]) for n in (2, 1)))
    paths = [row["path"].removeprefix("model.") for row in task.site_rows]
    assert list(norms_of(task)) == [site.path for site in task.sites]
    assert paths[0] == "encoder.layernorm_embedding" and paths[1].startswith("encoder.layers.0.")
    encoder = [path for path in paths if path.startswith("encoder.")]
    assert paths[: len(encoder)] == encoder and encoder[-1] == "encoder.layer_norm"
    assert paths[len(encoder)] == "decoder.layernorm_embedding" and paths[-1] == "decoder.layer_norm"


def test_a_norm_that_was_replaced_and_is_never_called_is_named(caplog):
    task = classifier("bert", SIZES)
    dry_run(task, *batches())
    assert not caplog.text
    layer = task.model.encoder.layer[0]
    layer.output.forward = lambda hidden, given: layer.output.dense(hidden) + given
    dry_run(task, *batches())
    assert "1 of 3 norms that were replaced are not called" in caplog.text
    assert "do nothing: encoder.layer.0.output.LayerNorm" in caplog.text


@pytest.mark.parametrize("family", test_language_modeling.FAMILIES)
def test_language_models_do_not_depend_on_padding(family):
    text = [row[:20] for row in test_language_modeling.TEXT]
    rows = [test_language_modeling.batch(text[:count], streams=family == "xlnet") for count in (2, 1)]
    assert not dry_run(test_language_modeling.task(family), *rows)


@pytest.mark.parametrize("encoder", ["mlp", "bert", "electra", "roberta", "mpnet", "fnet"])
def test_parsers_do_not_depend_on_padding_or_are_refused(encoder, monkeypatch):
    kind = "mlp" if encoder == "mlp" else "biaffine"
    options = {"mlp": test_dependency_parsing.BACKBONES["mlp"][1], "fnet": NO_HEADS}.get(encoder, SIZES)
    monkeypatch.setitem(test_dependency_parsing.BACKBONES, kind, (encoder, options))
    trees = test_dependency_parsing.TREES[::-1]
    pair = [test_dependency_parsing.batch(trees[:count]) for count in (3, 1)]
    with pytest.raises(InputError, match="reads padding") if encoder == "fnet" else nullcontext():
        dry_run(test_dependency_parsing.task(kind), *pair)
