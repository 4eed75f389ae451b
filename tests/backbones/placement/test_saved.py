"""Placements in models that are built, saved and loaded: bit for bit, paired, and never read as something else."""

import copy
import json
import pickle

import pytest
import torch
import transformers

from app.backbones import (
    BackboneConfig,
    PlacementSpec,
    apply_norms,
    build_model,
    inject_norms,
    load_model,
    norm_sites,
    place_norms,
    placement_of,
    save_model,
    to_stock_model,
)
from app.backbones.stock_model import family_placed_so
from app.errors import InputError
from app.norms import NormSpec
from tests.backbones.families import DATA_OPTIONS, OPTIONS, outputs, tiny

NAMES = ("placement", "family", "norm")
SAVED = [("peri", "bert", "adanorm"), ("post", "gpt2", None), ("qk", "llama", "dyt"), ("layerscale", "bart", None)]


def randomized(model):
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model.eval()


def built(family, placement, **settings):
    torch.manual_seed(0)
    config = BackboneConfig(**settings) if settings else BackboneConfig(family, OPTIONS[family])
    spec = PlacementSpec(placement) if placement else None
    return build_model(config, NormSpec.parse("adanorm"), data_options=DATA_OPTIONS, placement=spec).model


@pytest.mark.parametrize(NAMES, SAVED)
def test_a_placed_model_comes_back_bit_for_bit_and_transformers_refuses_it(placement, family, norm, tmp_path):
    model = tiny(family)
    spec = place_norms(model, placement)
    if norm is not None:
        inject_norms(model, norm)
    randomized(model)
    folder, state = save_model(model, tmp_path / "saved"), torch.get_rng_state()
    loaded = load_model(folder)
    assert torch.equal(torch.get_rng_state(), state) and placement_of(loaded) == spec
    assert repr(loaded) == repr(model) and json.loads((folder / "config.json").read_text())["placement"]
    assert all(torch.equal(a, b) for a, b in zip(outputs(loaded, family), outputs(model, family), strict=True))
    assert to_stock_model(model) is None
    with pytest.raises(ValueError, match="load it with app.backbones.load_model"):
        transformers.AutoModel.from_pretrained(folder)
    again = load_model(save_model(loaded, tmp_path / "again"))
    assert all(torch.equal(a, b) for a, b in zip(outputs(again, family), outputs(model, family), strict=True))


def test_weights_are_paired_and_random_draws_are_those_of_native():
    native, after = built("bert", None), torch.get_rng_state()
    for placement in ("native", "peri", "rezero", "qk", "keel"):
        model = built("bert", placement)
        assert torch.equal(torch.get_rng_state(), after)
        mine, theirs = model.state_dict(), native.state_dict()
        outside = [name for name in theirs if "LayerNorm" not in name]
        assert all(torch.equal(mine[name], theirs[name]) for name in outside)


def test_a_pretrained_model_keeps_its_placement_under_other_norms_and_heads_and_refuses_another(tmp_path):
    first = built("bert", "peri")
    folder = str(save_model(randomized(first), tmp_path / "saved"))
    again = built("bert", None, pretrained=folder)
    assert placement_of(again) == PlacementSpec("peri") and len(norm_sites(again)) == len(norm_sites(first))
    assert all(torch.equal(a, b) for a, b in zip(outputs(again.eval(), "bert"), outputs(first, "bert"), strict=True))
    assert built("bert", "peri", pretrained=folder).config.placement == again.config.placement
    head = build_model(BackboneConfig(pretrained=folder), auto_class="AutoModelForMaskedLM", data_options=DATA_OPTIONS)
    assert torch.equal(outputs(head.model.base_model.eval(), "bert")[0], outputs(first, "bert")[0])
    with pytest.raises(InputError, match=r"has placement peri\(queries_and_keys=none\), and --placement is pre\("):
        built("bert", "pre", pretrained=folder)


def test_a_placed_model_is_loaded_as_it_was_found_whatever_fresh_weights_say(tmp_path):
    """The branches of a fresh model with such a layer scale are too small to be told; those of this one were not."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16, "patch_size": 8}
    torch.manual_seed(0)
    model = build_model(BackboneConfig("dinov2", {**sizes, "layerscale_value": 1e-9})).model
    with pytest.raises(InputError, match="scaled by the block, or 0"):
        place_norms(model, "peri")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lambda" in name:
                parameter.fill_(0.5)
    place_norms(model, "peri")
    folder = save_model(model.eval(), tmp_path / "saved")
    pixels = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    head = build_model(
        BackboneConfig(pretrained=str(folder)), auto_class="AutoModelForImageClassification", data_options={}
    ).model.eval()
    whole = load_model(save_model(head, tmp_path / "head"))
    for other in (load_model(folder), head.base_model, whole.base_model):
        assert torch.equal(other(pixels).last_hidden_state, model(pixels).last_hidden_state)
    config = json.loads((folder / "config.json").read_text())
    config["placement_parts"]["blocks"][0]["branches"][0]["norms"]["pre"] = "nowhere"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="do not fit Dinov2Model .*save the model again"):
        load_model(folder)


def test_a_model_of_a_placed_models_config_is_not_placed(tmp_path):
    placed = tiny("llama")
    spec = place_norms(placed, "post")
    assert placement_of(copy.deepcopy(placed)) == placement_of(pickle.loads(pickle.dumps(placed))) == spec
    other = type(placed)(copy.deepcopy(placed.config))
    assert placement_of(other).is_native and to_stock_model(other) is not None
    assert placement_of(load_model(save_model(other, tmp_path / "saved"))).is_native
    assert place_norms(other, "peri") == placement_of(other)


def test_trained_weights_are_not_scaled(tmp_path):
    folder = save_model(tiny("bert"), tmp_path / "saved")
    name = "encoder.layer.1.output.dense.weight"
    assert torch.equal(
        built("bert", "deepnorm", pretrained=str(folder)).get_parameter(name), tiny("bert").get_parameter(name)
    )
    assert not torch.equal(built("bert", "deepnorm").get_parameter(name), built("bert", None).get_parameter(name))


def test_only_rezero_may_leave_a_model_without_norms():
    model = tiny("gpt2")
    place_norms(model, "rezero")
    assert apply_norms(model, NormSpec.parse("adanorm")) == [] and norm_sites(model) == []
    with pytest.raises(InputError, match="has no norm to replace"):
        apply_norms(torch.nn.Linear(2, 2), NormSpec.parse("adanorm"))


def test_the_family_whose_norms_stand_so_is_known_with_its_other_differences():
    model = tiny("llama")
    place_norms(model, "output", queries_and_keys="width")
    assert family_placed_so(model) == ("olmo2", ()) and family_placed_so(tiny("llama")) is None
    other = tiny("llama")
    place_norms(other, "peri")
    family, differences = family_placed_so(other)
    assert family == "gemma2" and "multiplies embeddings by the root of the width" in differences


def test_a_config_that_no_placement_reads_is_refused_in_one_line(tmp_path):
    model = tiny("gpt2")
    place_norms(model, "peri")
    folder = save_model(model, tmp_path / "saved")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"placement": {"name": "nowhere"}}))
    with pytest.raises(InputError, match="config.json: unknown placement 'nowhere'"):
        load_model(folder)
    model.save_pretrained(tmp_path / "theirs")
    with pytest.raises(InputError, match="does not keep placed norms"):
        load_model(tmp_path / "theirs")
