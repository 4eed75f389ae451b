"""Building from what a YAML says: data_options, refusals, pairing."""

import pytest
import torch
from transformers import AutoConfig, AutoModel, BertForMaskedLM, BertModel

from app.backbones import BackboneConfig, build_model, norm_sites, save_model
from app.backbones.options import option_names
from app.errors import InputError
from app.norms import NormSpec, norm_names
from tests.backbones.families import DATA_OPTIONS, FAMILIES, OPTIONS, tiny, values

BERT = OPTIONS["bert"]


def _build(norm=None, seed=0, **kwargs):
    torch.manual_seed(seed)
    return build_model(BackboneConfig("bert", BERT), norm and NormSpec.parse(norm), data_options=DATA_OPTIONS, **kwargs)


@pytest.mark.parametrize("name", norm_names())
def test_for_one_seed_all_norms_have_equal_weights_outside_the_norms(name):
    plain = _build()
    state = torch.get_rng_state()
    built = _build(name)
    assert torch.equal(torch.get_rng_state(), state)
    assert (len(built.sites), built.norms_total, len(plain.sites), plain.norms_total) == (5, 5, 0, 5)
    before, after = values(plain.model), values(built.model)
    outside = [key for key in before if "LayerNorm" not in key]
    assert len(outside) == len(before) - 2 * 5
    assert all(torch.equal(before[key], after[key]) for key in outside)


def test_another_seed_gives_other_weights():
    weights = [_build(seed=seed).model.embeddings.word_embeddings.weight for seed in (0, 1)]
    assert not torch.equal(*weights)


@pytest.mark.parametrize("family", FAMILIES)
def test_fresh_weights_are_those_of_transformers(family):
    torch.manual_seed(3)
    built = build_model(BackboneConfig(family, OPTIONS[family]), data_options=DATA_OPTIONS).model
    torch.manual_seed(3)
    direct = AutoModel.from_config(built.config)
    assert all(torch.equal(value, values(direct)[key]) for key, value in values(built).items())
    assert built.training


@pytest.mark.parametrize(
    ("backbone", "label"),
    [
        (BackboneConfig("bert", BERT), "bert-2x32"),
        (BackboneConfig("gpt2", {"n_layer": 3, "n_embd": 8, "n_head": 2}), "gpt2-3x8"),
        (BackboneConfig("mbart", OPTIONS["mbart"]), "mbart-2x32"),
        (BackboneConfig("convnet"), "convnet"),
        (BackboneConfig("bert", BERT, name="mine"), "mine"),
        (BackboneConfig(pretrained="google/vit-base"), "vit-base"),
        (BackboneConfig(pretrained="models/small/"), "small"),
    ],
)
def test_the_label_says_which_model_it_is(backbone, label):
    known = backbone.model_type and build_model(backbone, data_options=DATA_OPTIONS).model.config
    assert backbone.label(known) == label


def test_facts_go_where_the_config_has_them():
    bert, vit, gpt2 = (
        build_model(
            BackboneConfig(family, OPTIONS[family]), data_options={**DATA_OPTIONS, "num_labels": 5}
        ).model.config
        for family in ("bert", "vit", "gpt2")
    )
    assert (bert.vocab_size, bert.pad_token_id, bert.num_labels) == (60, 1, 5)
    assert (vit.image_size, vit.num_channels, vit.num_labels) == (16, 1, 5)
    assert not hasattr(bert, "image_size") and not hasattr(vit, "vocab_size")
    assert gpt2.eos_token_id is None and gpt2.bos_token_id is None, "50256 is no token of 60"


@pytest.mark.parametrize("family", ["t5", "bart", "mbart", "marian"])
def test_a_seq2seq_model_gets_its_start_token_from_the_data(family):
    model = build_model(
        BackboneConfig(family, OPTIONS[family]), auto_class="AutoModelForSeq2SeqLM", data_options=DATA_OPTIONS
    ).model
    labels = torch.tensor([[5, 6, 7]])
    start = torch.tensor([[DATA_OPTIONS["decoder_start_token_id"], 5, 6]])
    if family != "mbart":  # which wraps the last token around instead
        model.eval()
        expected = model(input_ids=labels, decoder_input_ids=start).logits
        assert torch.equal(model(input_ids=labels, labels=labels).logits, expected)
    assert model.generation_config.decoder_start_token_id == DATA_OPTIONS["decoder_start_token_id"]


def test_special_tokens_that_were_given_or_are_in_the_vocabulary_stay():
    config = build_model(
        BackboneConfig("bart", {**OPTIONS["bart"], "eos_token_id": 7}), data_options=DATA_OPTIONS
    ).model.config
    assert (config.eos_token_id, config.bos_token_id, config.decoder_start_token_id) == (7, 0, 2)


def test_an_option_may_repeat_what_the_data_says_but_not_contradict_it():
    build_model(BackboneConfig("bert", {**BERT, "vocab_size": 60}), data_options=DATA_OPTIONS)
    with pytest.raises(InputError, match="option vocab_size is 61, but the data dictates 60; omit the option"):
        build_model(BackboneConfig("bert", {**BERT, "vocab_size": 61}), data_options=DATA_OPTIONS)
    with pytest.raises(InputError, match="option n_embd is 32, but the data dictates 48"):
        build_model(BackboneConfig("gpt2", OPTIONS["gpt2"]), data_options={"hidden_size": 48})


@pytest.mark.parametrize(("model_type", "pretrained", "came"), [(None, None, "neither"), ("bert", "folder", "both")])
def test_exactly_one_of_model_type_and_pretrained(model_type, pretrained, came):
    with pytest.raises(InputError, match=f"exactly one of model_type and pretrained, got {came}"):
        BackboneConfig(model_type, pretrained=pretrained)


@pytest.mark.parametrize(
    ("model_type", "options", "message"),
    [
        ("brt", {}, "unknown model_type 'brt'; did you mean 'bert'?"),
        ("", {}, "unknown model_type ''; allowed: convnet, mlp and"),
        (
            "bert",
            {"hiden_size": 3},
            "'bert' has no option 'hiden_size'; did you mean 'hidden_size'? allowed: vocab",
        ),
        ("xlnet", {"n_layers": 2}, "'xlnet' has no option 'n_layers'; did you mean 'n_layer'?"),  # named in docstrings
        ("bert", {"embedding_size": 2}, "'bert' has no option 'embedding_size'"),  # only asked for with hasattr
        ("falcon", {"head_dim": 8}, "'falcon' has no option 'head_dim'"),  # which it computes
        ("gpt2", {"n_heads": 2}, "'gpt2' has no option 'n_heads'; did you mean 'n_head'?"),
        (
            "convnet",
            {"kernel": 3},
            "'convnet' has no option 'kernel'; did you mean 'kernel_size'? allowed: num_",
        ),
        ("bert", {"hidden_size": 30, "num_attention_heads": 7}, "not a multiple of the number of attention heads (7)"),
        ("bert", {"hidden_size": "many"}, "options.hidden_size is 'many'; must be a whole number"),
        ("bert", {"num_attention_heads": 0}, "num_attention_heads is 0; must be >= 1"),
        ("bert", {"hidden_act": "gelo"}, "hidden_act is 'gelo'; did you mean 'gelu'?"),
        ("xlnet", {"d_model": 30, "n_head": 7}, "'d_model % n_head' (2) should be equal to 0"),
        ("convnet", {"kernel_size": 4}, "kernel_size must be odd and positive, got 4"),
        ("convnet", {"image_size": 4}, "image_size 4 is too small for 3 poolings by half"),
        ("convnet", {"channels": []}, "channels must be one or more positive numbers, got []"),
        ("convnet", {"channels": "16"}, "Field 'channels'"),
    ],
)
def test_unknown_and_impossible_options_are_answered(model_type, options, message):
    with pytest.raises(InputError) as caught:
        build_model(BackboneConfig(model_type, options))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model_type", "option"),
    [
        ("gpt2", "hidden_size"),  # another name of n_embd
        ("llama", "rope_parameters"),
        ("deberta-v2", "norm_rel_ebd"),  # in no config class, read by the model
        ("t5", "decoder_start_token_id"),
        ("bert", "num_labels"),  # a property
        ("bert", "attn_implementation"),
    ],
)
def test_options_beyond_the_fields_of_a_config_class_are_accepted(model_type, option):
    cls = type(AutoConfig.for_model(model_type))
    assert option in option_names(cls)
    assert not any(name.startswith("_") for name in option_names(cls))


def test_methods_that_models_call_on_their_config_are_no_options():
    cls = type(AutoConfig.for_model("gemma3_text"))
    assert callable(cls.get_text_config) and "get_text_config" not in option_names(cls)
    assert "hidden_size" in option_names(cls)


@pytest.mark.parametrize("auto_class", ["BertModel", "AutoModelForDreaming", "AutoTokenizer"])
def test_an_unknown_head_is_refused(auto_class):
    with pytest.raises(InputError, match=f"'{auto_class}' is not an Auto class"):
        _build(auto_class=auto_class)


def test_a_model_type_without_the_head_is_refused():
    with pytest.raises(InputError, match="'bert' has no AutoModelForSeq2SeqLM"):
        _build(auto_class="AutoModelForSeq2SeqLM")


def test_pretrained_weights_come_from_the_folder_and_the_norm_goes_in_behind(tmp_path):
    source = tiny("bert", "AutoModelForMaskedLM")
    source.to(torch.float16).save_pretrained(tmp_path / "plain")
    pretrained = BackboneConfig(pretrained=str(tmp_path / "plain"), options={"hidden_dropout_prob": 0.3})
    built = build_model(
        pretrained, NormSpec.parse("layernorm_simple"), data_options=DATA_OPTIONS, auto_class="AutoModelForMaskedLM"
    )
    assert len(built.sites) == built.norms_total == 6 and built.model.training
    assert built.model.config.hidden_dropout_prob == built.model.bert.embeddings.dropout.p == 0.3
    expected = values(source)
    for key, value in values(built.model).items():
        assert value.dtype == torch.float32, "precision is the trainer's"
        assert torch.equal(value, expected[key].float())


@pytest.mark.parametrize(
    ("options", "data_options", "message"),
    [
        ({"hiden_size": 3}, {}, "has no option 'hiden_size'; did you mean 'hidden_size'?"),
        ({"vocab_size": 9}, {"vocab_size": 60}, "option vocab_size is 9, but the data dictates 60"),
        ({}, {"vocab_size": 61}, "embeddings.word_embeddings.weight is (60, 32) there and (61, 32) in the"),
    ],
)
def test_pretrained_weights_that_do_not_fit_are_refused(tmp_path, options, data_options, message):
    tiny("bert").save_pretrained(tmp_path / "plain")
    with pytest.raises(InputError) as caught:
        build_model(BackboneConfig(pretrained=str(tmp_path / "plain"), options=options), data_options=data_options)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["no/such/folder/here", "./nowhere"])
def test_a_pretrained_model_that_is_not_there_is_refused(name):
    with pytest.raises(InputError, match=f"pretrained '{name}': no such folder, or no model in it"):
        build_model(BackboneConfig(pretrained=name))


@pytest.fixture
def saved_with_norms(tmp_path):
    model = _build("layernorm_simple", auto_class="AutoModelForMaskedLM").model
    save_model(model, tmp_path / "saved")
    return model, BackboneConfig(pretrained=str(tmp_path / "saved"))


@pytest.mark.parametrize(("auto_class", "cls"), [("AutoModelForMaskedLM", BertForMaskedLM), ("AutoModel", BertModel)])
def test_a_model_saved_with_norms_or_its_backbone_can_be_trained_further(saved_with_norms, auto_class, cls, caplog):
    model, pretrained = saved_with_norms
    built = build_model(pretrained, data_options=DATA_OPTIONS, auto_class=auto_class)
    assert type(built.model) is cls and built.model.training and built.sites == []
    assert {site.kind for site in norm_sites(built.model)} == {"app.norms"}
    found, expected = values(built.model), values(model if cls is BertForMaskedLM else model.bert)
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    fresh = found.keys() - expected.keys()
    assert fresh == (set() if cls is BertForMaskedLM else {"pooler.dense.weight", "pooler.dense.bias"})
    assert [record.message for record in caplog.records] == [
        f"pretrained {pretrained.pretrained!r} has no weights for {', '.join(sorted(fresh))}: initialized at random"
    ] * bool(fresh)


def test_a_model_saved_with_norms_can_take_others(saved_with_norms):
    _, pretrained = saved_with_norms
    built = build_model(pretrained, NormSpec.parse("layernorm"), auto_class="AutoModelForMaskedLM")
    assert {record.old_class for record in built.sites} == {"LayerNormSimple"} and len(built.sites) == 6


def test_half_precision_weights_with_norms_are_trained_in_full_precision(tmp_path):
    model = _build("layernorm").model.to(torch.float16)
    save_model(model, tmp_path / "saved")
    found = values(build_model(BackboneConfig(pretrained=str(tmp_path / "saved"))).model)
    assert all(found[key].dtype == torch.float32 for key in found)
    assert all(torch.equal(found[key], value.float()) for key, value in values(model).items())


def test_a_backbone_saved_with_norms_can_take_a_fresh_head_and_other_dropout(saved_with_norms):
    model, pretrained = saved_with_norms
    pretrained = BackboneConfig(pretrained=pretrained.pretrained, options={"hidden_dropout_prob": 0.3})
    data_options = {**DATA_OPTIONS, "num_labels": 5}
    built = build_model(pretrained, data_options=data_options, auto_class="AutoModelForTokenClassification").model
    assert built.classifier.out_features == 5 and built.bert.embeddings.dropout.p == 0.3
    assert type(built.bert.embeddings.LayerNorm) is type(model.bert.embeddings.LayerNorm)
    expected = values(model.bert)
    assert all(torch.equal(value, expected[key]) for key, value in values(built.bert).items())


@pytest.mark.parametrize(
    ("auto_class", "options", "message"),
    [
        ("AutoModel", {"hidden_size": 64}, "does not fit: "),
        ("AutoModel", {"vocab_size": 61}, r"word_embeddings.weight is \(60, 32\) there and \(61, 32\) in the model"),
        ("AutoModel", {"hiden_size": 64}, "no option 'hiden_size'"),
        ("AutoModel", {"hidden_dropout_prob": 7.0}, "is refused .*; options: hidden_dropout_prob=7.0"),
        ("AutoModelForSeq2SeqLM", {}, "'bert' has no AutoModelForSeq2SeqLM"),
    ],
)
def test_a_model_saved_with_norms_that_does_not_fit_is_refused(saved_with_norms, auto_class, options, message):
    pretrained = BackboneConfig(pretrained=saved_with_norms[1].pretrained, options=options)
    with pytest.raises(InputError, match=message):
        build_model(pretrained, auto_class=auto_class)
