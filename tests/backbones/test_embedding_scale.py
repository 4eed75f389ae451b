"""The learned factor on the input of the first blocks: where it is, what it does, and that nothing loses it."""

import copy
import json
import math
import pickle

import pytest
import torch
import transformers
from torch import nn

from app.backbones import (
    BackboneConfig,
    apply_norms,
    build_model,
    embedding_scales,
    inject_norms,
    left_norms,
    load_model,
    norm_sites,
    save_model,
    to_stock_model,
)
from app.errors import InputError
from app.norms import NormSpec
from tests.backbones.families import backward, outputs, tiny

FIRST_BLOCKS = {
    "bert": ["encoder.layer.0"],
    "vit": ["layers.0"],
    "gpt2": ["h.0"],
    "xlnet": ["layer.0"],
    "llama": ["layers.0"],
    "t5": ["encoder.block.0", "decoder.block.0"],
    "bart": ["encoder.layers.0", "decoder.layers.0"],
    "swin": ["encoder.layers.0.blocks.0"],
}


def injected(family, scale="auto", norm="dyt"):
    model = tiny(family)
    apply_norms(model, NormSpec.parse({"name": norm, "embedding_scale": scale}))
    return model.eval()


def same(one, other, family):
    return all(torch.equal(a, b) for a, b in zip(outputs(one, family), outputs(other, family), strict=True))


@pytest.mark.parametrize("family", FIRST_BLOCKS)
def test_it_multiplies_the_input_of_the_block_that_runs_first(family):
    tiny(family)  # is built once, and draws then
    state = torch.get_rng_state()
    model = injected(family)
    assert torch.equal(torch.get_rng_state(), state)
    scales = embedding_scales(model)
    assert list(scales) == FIRST_BLOCKS[family]
    width = 16 if family == "swin" else 32
    assert all(scale.init == math.sqrt(width) and scale.weight.shape == (1,) for scale in scales.values())
    if family == "swin":
        return  # which has no batch here
    without = tiny(family)
    inject_norms(without, "dyt")
    assert [site.path for site in norm_sites(model)] == [site.path for site in norm_sites(without)]
    assert not left_norms(model)
    assert same(injected(family, 1), without.eval(), family)
    seen: dict[str, list[torch.Tensor]] = {}
    for name, each in (("with", model), ("without", without)):
        for path in scales:
            block = each.get_submodule(path)
            block.register_forward_pre_hook(
                lambda block, args, kwargs, name=name: seen.setdefault(name, []).append(
                    next(x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor) and x.dim() == 3)
                ),
                with_kwargs=True,
            )
        outputs(each, family)
    for ours, plain in zip(seen["with"], seen["without"], strict=True):
        torch.testing.assert_close(ours, plain * math.sqrt(32))
    backward(model, family)
    assert all(scale.weight.grad.count_nonzero() for scale in scales.values())


def test_copies_pickles_and_compiled_models_keep_it_and_checkpointing_its_gradient():
    model = injected("gpt2", 3)
    with torch.no_grad():
        model.h[0].embedding_scale.weight.fill_(5)
    twin = copy.deepcopy(model)
    assert same(twin, model, "gpt2")
    with torch.no_grad():
        twin.h[0].embedding_scale.weight.fill_(7)
    assert not same(twin, model, "gpt2"), "the copy has a factor of its own"
    assert same(pickle.loads(pickle.dumps(model)), model, "gpt2")
    compiled = torch.compile(model, backend="eager")
    for one, other in zip(outputs(compiled, "gpt2"), outputs(model, "gpt2"), strict=True):
        torch.testing.assert_close(one, other)
    backward(model, "gpt2")
    expected = model.h[0].embedding_scale.weight.grad.clone()
    model.zero_grad()
    model.activation_checkpointing_enable()
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    calls: list[nn.Module] = []
    model.h[0].mlp.register_forward_pre_hook(lambda module, args: calls.append(module))
    backward(model, "gpt2")
    torch.testing.assert_close(model.h[0].embedding_scale.weight.grad, expected)
    assert len(calls) == 2, "computed again in the backward pass"


def test_half_precision_stays():
    model = injected("gpt2").to(torch.bfloat16)
    scale = model.h[0].embedding_scale
    assert scale(torch.ones(1, 2, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert scale.float()(torch.ones(1, 2, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_an_injected_model_that_is_injected_again_has_what_the_last_spec_says():
    model = copy.deepcopy(pickle.loads(pickle.dumps(injected("t5", 3))))
    with torch.no_grad():
        model.encoder.block[0].embedding_scale.weight.fill_(5)
    apply_norms(model, NormSpec.parse({"name": "dyt", "embedding_scale": 3}))
    assert float(model.encoder.block[0].embedding_scale.weight.detach()) == 5, "learned, and of the same start value"
    apply_norms(model, NormSpec.parse({"name": "dyt", "embedding_scale": 4}))
    assert [(s.init, float(s.weight.detach())) for s in embedding_scales(model).values()] == [(4, 4)] * 2
    assert len(model.encoder.block[0]._forward_pre_hooks) == 1
    inject_norms(model, "dyt")
    plain = tiny("t5")
    inject_norms(plain, "dyt")
    assert not embedding_scales(model) and repr(model) == repr(plain)
    assert not any(module._forward_pre_hooks or module._forward_pre_hooks_with_kwargs for module in model.modules())
    assert same(model, plain.eval(), "t5")


@pytest.mark.parametrize("norm", ["layernorm", "native"])
def test_it_comes_back_from_a_folder_bit_for_bit_and_is_no_stock_model(norm, tmp_path):
    model = injected("bart", norm=norm)
    with torch.no_grad():
        model.decoder.layers[0].embedding_scale.weight.fill_(5)
    folder = save_model(model, tmp_path / "saved")
    config = json.loads((folder / "config.json").read_text())
    assert config["embedding_scales"] == dict.fromkeys(FIRST_BLOCKS["bart"], math.sqrt(32))
    loaded = load_model(folder)
    assert repr(loaded) == repr(model) and same(loaded, model, "bart")
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())
    assert "decoder.layers.0.embedding_scale.weight" in loaded.state_dict()
    assert to_stock_model(model) is None
    with pytest.raises(ValueError, match="embedding_scale: load it with app.backbones.load_model"):
        transformers.AutoModel.from_pretrained(folder)
    again = build_model(BackboneConfig(pretrained=str(folder)), auto_class="AutoModelForSeq2SeqLM").model
    assert float(again.model.decoder.layers[0].embedding_scale.weight.detach()) == 5
    (folder / "config.json").write_text(json.dumps({**config, "embedding_scales": {"encoder.layers.9": 1.0}}))
    with pytest.raises(InputError, match="config.json, embedding_scales, {'encoder.layers.9': 1.0}"):
        load_model(folder)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: tiny("albert"), "of AlbertModel is its first block and runs 2 times in a forward pass"),
        (
            lambda: build_model(BackboneConfig("mlp", {"input_size": 8, "hidden_size": 8})).model,
            "MLP has no blocks that each take and give hidden states",
        ),
        (
            lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)),
            "embedding_scale needs one forward pass, which Sequential refused",
        ),
    ],
)
def test_a_model_without_one_first_block_is_refused_and_unchanged(model, words):
    model = model()
    before = repr(model)
    with pytest.raises(InputError, match=words):
        inject_norms(model, NormSpec.parse({"name": "dyt", "embedding_scale": "auto"}))
    assert repr(model) == before
