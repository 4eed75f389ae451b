"""The translation task: what the decoder sees, what is counted, what is translated; and runs are paired."""

import math

import pytest
import torch
import torch.nn.functional as F

from app.backbones import BackboneConfig
from app.batches import DataSpec, TranslationBatch
from app.errors import InputError
from app.metrics import Translated
from app.metrics.info import LOSS
from app.norms import NormSpec
from app.tasks import Translation
from app.tasks.base import totals
from app.tasks.generation.beam_search import DecodingConfig
from app.tasks.optimization import OptimizerConfig

SIZES = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "d_model": 16,
         "encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 24}  # fmt: skip
FAMILIES = {
    "mbart": SIZES,
    "bart": SIZES,
    "marian": SIZES,
    "t5": {"num_layers": 1, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_heads": 2},
}
PAD, START, END = 0, 2, 3
SPECIAL = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END, "decoder_start_token_id": START}


def decode(rows):
    return [" ".join(str(token) for token in row if token > 4) for row in rows]


def task(family="mbart", norm="layernorm", seed=0, data_spec=None, options=None, **settings):
    data_spec = data_spec or DataSpec({"vocab_size": 20, **SPECIAL}, max_length=12, decode=decode, target_language="de")
    backbone = BackboneConfig(family, {**FAMILIES[family], **(options or {})})
    return Translation(
        backbone=backbone,
        optimizer=OptimizerConfig(),
        norm=NormSpec.parse(norm),
        data_spec=data_spec,
        seed=seed,
        **settings,
    )


def batch(sources, targets, width=0):
    def padded(rows, fill):
        longest = max(width, *map(len, rows))
        return torch.tensor([row + [fill] * (longest - len(row)) for row in rows])

    ids = padded(sources, PAD)
    tokens = sum(map(len, targets))
    return TranslationBatch(
        torch.arange(len(sources)), tokens, False, ids, (ids != PAD).long(), padded(targets, -100),
        decode(sources), decode(targets), sum(map(len, sources)) + tokens, tokens,
    )  # fmt: skip


SOURCES, TARGETS = [[7, 8, 9, 10, END], [11, END]], [[12, 13, END], [14, 15, 16, 17, END]]


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_does_not_change_the_logits(family):
    model = task(family).eval()
    plain, padded = model(batch(SOURCES, TARGETS)), model(batch(SOURCES, TARGETS, width=11))
    real = batch(SOURCES, TARGETS).labels != -100
    torch.testing.assert_close(plain[real], padded[:, : plain.shape[1]][real], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_decoder_sees_the_source_and_the_target_before(family):
    model = task(family).eval()
    logits = model(batch(SOURCES, TARGETS))
    later = [[12, 13, END], [14, 15, 19, 17, END]]  # another third token
    changed = (model(batch(SOURCES, later)) - logits).abs().sum(-1)[1] > 1e-7
    assert changed.tolist() == [False, False, False, True, True]
    other_source = (model(batch([[7, 8, 9, 10, END], [6, END]], TARGETS)) - logits).abs().sum(-1) > 1e-7
    assert not other_source[0].any() and other_source[1].all()


@torch.no_grad()
def test_counts_are_sums_of_nats_over_target_tokens():
    model = task().eval()
    counts = totals(model.evaluate(batch(SOURCES, TARGETS)))
    nats = 0.0
    for source, target in zip(SOURCES, TARGETS, strict=True):  # one by one, token by token, without padding
        inputs = torch.tensor([[START, *target[:-1]]])
        logits = model.model(input_ids=torch.tensor([source]), decoder_input_ids=inputs).logits[0]
        nats -= sum(float(row.log_softmax(-1)[token]) for row, token in zip(logits, target, strict=True))
    assert float(counts["loss"][0]) == pytest.approx(nats, rel=1e-6)
    assert counts["loss"][1] == 8


def test_smoothing_is_in_the_objective_alone():
    model, data = task(label_smoothing=0.2).eval(), batch(SOURCES, TARGETS)
    objective, nats, units = model.train_loss(data)
    logits, labels = model(data).flatten(0, 1), data.labels.flatten()
    torch.testing.assert_close(objective, F.cross_entropy(logits, labels, reduction="sum", label_smoothing=0.2))
    torch.testing.assert_close(nats.double(), model.evaluate(data)["loss"][0].sum())
    assert units == 8


@pytest.mark.parametrize("family", FAMILIES)
def test_every_trainable_parameter_gets_a_gradient(family):
    model = task(family, "adanorm").train()
    model.train_loss(batch(SOURCES, TARGETS)).objective.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_the_norm_stands_in_both_stacks(family):
    paths = [site["path"] for site in task(family, "adanorm").site_rows]
    assert any("encoder" in path for path in paths) and any("decoder" in path for path in paths)


@pytest.mark.parametrize("family", ["mbart", "marian"])  # transformers ties T5 whatever its config says
@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_are_tied_by_option(family, tied):
    model = task(family, options={"tie_word_embeddings": tied}).model
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied


@pytest.mark.parametrize("norm", ["adanorm", "none", "detachnorm"])
@pytest.mark.parametrize("family", FAMILIES)
def test_for_one_seed_every_norm_starts_from_the_same_weights(family, norm):
    assert task(family, seed=3).initial_weights == task(family, norm, seed=3).initial_weights
    assert task(family, seed=3).initial_weights != task(family, norm, seed=4).initial_weights


def test_scores_are_of_the_share_that_is_translated():
    model = task(decoding=DecodingConfig(beams=2, fraction=0.5)).eval()
    model.observe(batch(SOURCES, TARGETS), "test")
    scores = model.derive("test", {"loss": 2.0})
    assert scores["perplexity"] == pytest.approx(math.e**2)
    assert len(model.test_texts["hypothesis"]) == 1 and model.test_texts["reference"] == ["12 13"]
    assert scores.keys() == {"perplexity", "bleu", "chrf", "bleu_tokenized", "bleu_of_copy"}
    assert set(model.score_signatures) == {"bleu", "chrf", "bleu_tokenized"}


def test_bleu_has_the_tokenizer_that_is_asked_for_and_says_where_it_does_not_fit(caplog):
    pair = Translated(0, "a", "我喜欢猫和狗", "我喜欢猫和鸟")
    for settings, tokenizer, warned in (({}, "13a", True), ({"bleu_tokenizer": "char"}, "char", False)):
        caplog.clear()
        caplog.set_level("INFO", "app.tasks")
        model = task(**settings)
        assert f"BLEU: sacrebleu's tokenizer {tokenizer}, target language de" in caplog.text
        for _ in range(2):
            model.translations["val"].update([pair])
            model.derive("val", {"loss": 1.0})
        assert f"tok:{tokenizer}|" in model.score_signatures["bleu"]
        assert caplog.text.count("set model.bleu_tokenizer") == warned  # once, not at each validation
    data_spec = DataSpec({"vocab_size": 20, **SPECIAL}, decode=decode, target_language="jpn")
    with pytest.raises(InputError, match="jpn .* ja-mecab: .* install .* model.bleu_tokenizer to char"):
        task(data_spec=data_spec)
    assert task(data_spec=data_spec, bleu_tokenizer="char").bleu_tokenizer == "char"


def test_without_a_share_the_loss_chooses_the_best():
    model = task(val_decoding=DecodingConfig(beams=1, fraction=0.0)).eval()
    model.observe(batch(SOURCES, TARGETS), "val")
    assert model.derive("val", {"loss": 1.0}).keys() == {"perplexity"}
    assert model.score_names("val") == ["val/loss", "val/perplexity"]
    assert (model.primary, model.metrics) == (LOSS, (LOSS,))


def test_predictions_keep_their_places_and_nothing_stays_nothing():
    model = task().eval()
    sources = batch([[7, END], [END], [8, 9, END]], [[END]] * 3)
    found = model.predict_step(sources, 0)
    assert [prediction.index for prediction in found] == [0, 1, 2] and found[1].answer == ""
    (alone,) = model.predict_step(batch([[8, 9, END]], [[END]]), 0)
    assert alone.answer == found[2].answer == alone.known["translation"]
    (nothing,) = model.predict_step(batch([[END]], [[END]]), 0)
    assert (nothing.index, nothing.answer) == (0, "")


def test_a_model_too_short_for_the_data_is_refused():
    data_spec = DataSpec({"vocab_size": 20, **SPECIAL}, max_length=30, decode=decode)
    with pytest.raises(InputError, match="max_length is 30.*max_position_embeddings is 24; raise"):
        task(data_spec=data_spec)
    assert task("t5", data_spec=data_spec) is not None  # its positions are relative


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_impossible_smoothing_is_refused(smoothing):
    with pytest.raises(InputError, match="label_smoothing"):
        task(label_smoothing=smoothing)
