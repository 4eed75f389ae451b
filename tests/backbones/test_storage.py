"""Saving and loading: bit for bit, whole or not at all, and never read as something else by plain transformers."""

import json
import os

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

from app.backbones import BackboneConfig, build_model, inject_norms, load_model, save_model
from app.errors import InputError
from app.norms import Norm, NormSpec, norm_class, norm_names
from tests.backbones.families import FAMILIES, outputs, tiny, values

NORM_FILES = {"config.json", "norm_model.safetensors"}


def _randomize(model: nn.Module) -> nn.Module:
    """Other values everywhere, so that nothing can be right by being freshly initialized."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter.dtype) * 0.05)
    return model.eval()


def _assert_same(loaded: nn.Module, model: nn.Module) -> None:
    assert type(loaded) is type(model)
    assert [(n, type(m)) for n, m in loaded.named_modules()] == [(n, type(m)) for n, m in model.named_modules()]
    assert [(n, p.dtype) for n, p in loaded.named_parameters()] == [(n, p.dtype) for n, p in model.named_parameters()]
    assert not any(module.training for module in loaded.modules())
    assert values(loaded).keys() == values(model).keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_of_every_family_come_back_bit_for_bit(family, tmp_path):
    model = tiny(family)
    inject_norms(model, "layernorm")
    _randomize(model)
    state = torch.get_rng_state()
    loaded = load_model(save_model(model, tmp_path / "saved"))
    assert torch.equal(torch.get_rng_state(), state)
    _assert_same(loaded, model)
    assert all(torch.equal(a, b) for a, b in zip(outputs(loaded, family), outputs(model, family), strict=True))
    assert (
        loaded.config.to_dict().items() >= {"norm": NormSpec.parse("layernorm").to_dict(), "model_type": family}.items()
    )
    assert loaded.config.norm == model.config.norm


@pytest.mark.parametrize("name", norm_names())
def test_every_norm_comes_back_with_options_shape_and_eps(name, tmp_path):
    model = tiny("llama")
    inject_norms(model, name)
    loaded = load_model(save_model(_randomize(model), tmp_path / "saved"))
    _assert_same(loaded, model)
    assert repr(loaded) == repr(model)
    assert all(torch.equal(a, b) for a, b in zip(outputs(loaded, "llama"), outputs(model, "llama"), strict=True))


def test_a_mixture_of_norms_comes_back_as_it_stands(tmp_path):
    model = tiny("gpt2")
    inject_norms(model, "layernorm_simple", sites="final")
    inject_norms(model, "layernorm", sites=["ln_1"])
    _randomize(model)
    loaded = load_model(save_model(model, tmp_path / "saved"))
    _assert_same(loaded, model)
    kinds = [type(m) for n, m in loaded.named_modules() if "ln_" in n]
    mine = norm_class("layernorm")
    assert kinds == [mine, nn.LayerNorm, mine, nn.LayerNorm, norm_class("layernorm_simple")]


@pytest.mark.parametrize(
    ("family", "auto_class", "tied"),
    [
        ("bert", "AutoModelForMaskedLM", ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight")),
        ("gpt2", "AutoModelForCausalLM", ("lm_head.weight", "transformer.wte.weight")),
        ("t5", "AutoModelForSeq2SeqLM", ("encoder.embed_tokens.weight", "shared.weight")),
        ("marian", "AutoModelForSeq2SeqLM", ("lm_head.weight", "model.shared.weight")),
    ],
)
def test_tied_weights_stay_tied_and_are_written_once(family, auto_class, tied, tmp_path):
    model = tiny(family, auto_class)
    inject_norms(model, "layernorm_simple")
    loaded = load_model(save_model(_randomize(model), tmp_path / "saved"))
    _assert_same(loaded, model)
    assert loaded.get_parameter(tied[0]) is loaded.get_parameter(tied[1])
    assert len(set(tied) & load_file(tmp_path / "saved" / "norm_model.safetensors").keys()) == 1
    assert all(torch.equal(value, values(model)[key]) for key, value in values(loaded).items())


def test_generation_settings_of_a_seq2seq_model_are_kept(tmp_path):
    model = tiny("marian", "AutoModelForSeq2SeqLM")
    model.generation_config.num_beams = 7
    inject_norms(model, "layernorm_simple")
    save_model(model, tmp_path / "saved")
    assert {p.name for p in (tmp_path / "saved").iterdir()} == NORM_FILES | {"generation_config.json"}
    loaded = load_model(tmp_path / "saved")
    assert (loaded.generation_config.num_beams, loaded.generation_config.decoder_start_token_id) == (7, 2)


def test_mixed_precision_of_the_weights_is_kept(tmp_path):
    model = tiny("t5").to(torch.bfloat16)
    inject_norms(model, "layernorm")
    model.encoder.block[0].layer[1].DenseReluDense.wo.float()
    loaded = load_model(save_model(_randomize(model), tmp_path / "saved"))
    _assert_same(loaded, model)
    assert {p.dtype for p in loaded.parameters()} == {torch.bfloat16, torch.float32}
    assert all(torch.equal(value, values(model)[key]) for key, value in values(loaded).items())


# --- plain transformers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "auto_class"),
    [("bert", "AutoModelForMaskedLM"), ("t5", "AutoModelForSeq2SeqLM"), ("llama", "AutoModelForCausalLM")],
)
def test_plain_transformers_refuses_the_folder(family, auto_class, tmp_path):
    model = tiny(family, auto_class)
    inject_norms(model, "layernorm")  # the parameters have the names and shapes of ordinary ones
    save_model(model, tmp_path / "saved")
    for cls in (transformers.AutoConfig, transformers.AutoModel, getattr(transformers, auto_class)):
        with pytest.raises(ValueError, match=f"`{family} with layernorm: load it with app.backbones.load_model`"):
            cls.from_pretrained(tmp_path / "saved")
    for concrete in (type(model), type(tiny(family))):
        with pytest.raises(OSError, match="no file named model.safetensors"):
            concrete.from_pretrained(tmp_path / "saved")


def test_a_model_with_its_own_norms_is_saved_as_hugging_face_saves_it(tmp_path):
    model = _randomize(tiny("bert", "AutoModelForMaskedLM"))
    save_model(model, tmp_path / "ours")
    model.save_pretrained(tmp_path / "theirs")
    names = sorted(p.name for p in (tmp_path / "theirs").iterdir())
    assert names == sorted(p.name for p in (tmp_path / "ours").iterdir())
    assert json.loads((tmp_path / "ours/config.json").read_text()) == json.loads(
        (tmp_path / "theirs/config.json").read_text()
    )
    for loaded in (load_model(tmp_path / "ours"), load_model(tmp_path / "theirs")):
        _assert_same(loaded, model)
        assert all(torch.equal(value, values(model)[key]) for key, value in values(loaded).items())
    assert type(transformers.AutoModel.from_pretrained(tmp_path / "ours")) is transformers.BertModel


def test_a_config_left_from_injected_norms_marks_no_ordinary_model(tmp_path):
    model = tiny("bert")
    inject_norms(model, "layernorm_simple")
    fresh = transformers.AutoModel.from_config(model.config)
    save_model(fresh, tmp_path / "saved")
    assert "norm" not in json.loads((tmp_path / "saved/config.json").read_text())
    assert type(load_model(tmp_path / "saved").embeddings.LayerNorm) is nn.LayerNorm


def test_what_save_pretrained_wrote_of_a_models_own_norms_is_loaded(tmp_path):
    model = tiny("bert")
    inject_norms(model, "native")
    model.save_pretrained(tmp_path / "saved")
    again = build_model(BackboneConfig(pretrained=str(tmp_path / "saved")), NormSpec.parse("native")).model
    assert values(again).keys() == values(model).keys()


def test_what_save_pretrained_wrote_of_injected_norms_is_refused(tmp_path):
    model = tiny("bert")
    inject_norms(model, "layernorm")
    model.save_pretrained(tmp_path / "saved")
    with pytest.raises(InputError, match="does not keep injected norms; save the model again with"):
        load_model(tmp_path / "saved")


# --- nothing half-written, nothing half-read ---------------------------------------------------------------------


def test_a_failed_save_leaves_nothing(tmp_path):
    model = tiny("bert")
    inject_norms(model, "layernorm_simple")
    model.config.norm = {"not json": {1, 2}}
    with pytest.raises(TypeError):
        save_model(model, tmp_path / "new" / "saved")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_with_files_is_not_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is not empty"):
        save_model(tiny("bert"), tmp_path)
    with pytest.raises(InputError, match="exists and is not empty"):
        save_model(tiny("bert"), tmp_path / "notes.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_folder_is_used_and_readable_by_others(tmp_path):
    (tmp_path / "saved").mkdir()
    folder = save_model(tiny("bert"), str(tmp_path / "saved"))
    (tmp_path / "other").mkdir()
    assert folder == tmp_path / "saved" and (folder / "config.json").exists()
    assert os.stat(folder).st_mode == os.stat(tmp_path / "other").st_mode


def test_a_norm_outside_the_registry_is_refused(tmp_path):
    class Homemade(Norm):
        def normalize(self, x):
            return x

    model = tiny("bert")
    model.embeddings.LayerNorm = Homemade(32)
    with pytest.raises(InputError, match="Homemade is not a registered norm"):
        save_model(model, tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def saved(tmp_path):
    model = tiny("bert")
    inject_norms(model, "layernorm")
    return save_model(model, tmp_path / "saved")


def _change_weights(folder, change):
    tensors = load_file(folder / "norm_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "norm_model.safetensors")


def _change_config(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: _change_weights(f, lambda t: t.pop("pooler.dense.bias")), "it lacks pooler.dense.bias"),
        (lambda f: _change_weights(f, lambda t: t.update(x=torch.ones(1))), "it has unexpected x"),
        (
            lambda f: _change_weights(f, lambda t: t.update({"pooler.dense.bias": torch.ones(31)})),
            "it has another shape of pooler.dense.bias",
        ),
        (lambda f: (f / "norm_model.safetensors").write_bytes(b"short"), "cannot be read"),
        (lambda f: (f / "norm_model.safetensors").unlink(), "has no norm_model.safetensors; copy or save"),
        (lambda f: (f / "config.json").unlink(), "has no config.json; use the folder"),
        (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "is not a JSON object"),
        (lambda f: _change_config(f, lambda c: c.update(architectures=["Bort"])), "names 'Bort' under architectures"),
        (lambda f: _change_config(f, lambda c: c.pop("architectures")), "names 'nothing' under architectures"),
        (lambda f: _change_config(f, lambda c: c.update(base_model_type="bort")), "model_type 'bort' is unknown"),
        (
            lambda f: _change_config(f, lambda c: c.update(hidden_size="x")),
            "config.json: hidden_size is 'x'; must be a whole number",
        ),
        (lambda f: _change_config(f, lambda c: c["norm_sites"][0].update(name="mynorm")), "unknown norm 'mynorm'"),
        (lambda f: _change_config(f, lambda c: c["norm_sites"][0].update(path="a.b")), "norm_sites, {'eps'"),
        (lambda f: _change_config(f, lambda c: c["norm_sites"][0].pop("eps")), "'eps'"),
    ],
)
def test_a_damaged_folder_is_refused(saved, damage, message):
    damage(saved)
    with pytest.raises(InputError) as caught:
        load_model(saved)
    assert message in str(caught.value) and str(saved) in str(caught.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no config.json; use the folder of a saved model"):
        load_model(tmp_path / "nowhere")


def test_a_plain_folder_that_lacks_weights_is_refused(tmp_path):
    tiny("bert").save_pretrained(tmp_path / "saved")
    tensors = load_file(tmp_path / "saved/model.safetensors")
    tensors.pop("pooler.dense.bias")
    save_file(tensors, tmp_path / "saved/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="lacks weights of BertModel: pooler.dense.bias"):
        load_model(tmp_path / "saved")


def test_loaded_weights_do_not_depend_on_the_file_any_more(saved):
    loaded = load_model(saved)
    before = values(loaded)
    path = saved / "norm_model.safetensors"
    with path.open("r+b") as file:
        file.write(b"\xff" * path.stat().st_size)
    assert all(torch.equal(value, before[key]) for key, value in loaded.state_dict().items())


@pytest.mark.parametrize("norm", [None, "adanorm"])
def test_a_class_that_transformers_does_not_export_comes_back(norm, tmp_path):
    config = transformers.AltCLIPTextConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24
    )
    model = type(transformers.AltCLIPTextModel(config).roberta)(config).eval()
    assert not hasattr(transformers, type(model).__name__)
    if norm is not None:
        inject_norms(model, norm)
    loaded = load_model(save_model(model, tmp_path / "saved"))
    _assert_same(loaded, model)
    tokens = torch.arange(5)[None]
    assert torch.equal(loaded(tokens).last_hidden_state, model(tokens).last_hidden_state)
    again = load_model(save_model(loaded, tmp_path / "again"))
    assert (tmp_path / "again/config.json").read_bytes() == (tmp_path / "saved/config.json").read_bytes()
    _assert_same(again, model)


@pytest.mark.parametrize("module", ["os", "bert.modeling_bert.nn", "../evil", "no.modeling_such", 3])
def test_only_modules_of_models_are_looked_into_for_a_class(module, tmp_path):
    folder = save_model(tiny("bert"), tmp_path / "saved")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architecture_module": module}))
    with pytest.raises(InputError, match="'BertModel' under architectures, which is not a model class"):
        load_model(folder)


def test_a_config_with_an_infinite_number_and_one_with_a_norm_of_its_own_come_back(tmp_path):
    model = tiny("llama")
    model.config.time_limit, model.config.norm = (0.0, float("inf")), "pre"  # as in Bamba and in OneFormer
    inject_norms(model, "layernorm")
    loaded = load_model(save_model(model, tmp_path / "saved"))
    assert tuple(loaded.config.time_limit) == (0.0, float("inf"))
    assert loaded.config.norm == "pre"
    _assert_same(loaded, model)
    assert load_model(save_model(tiny("llama"), tmp_path / "own")).config.to_dict().get("norm") is None
