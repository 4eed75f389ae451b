"""The parsing task: both parsers learn and score trees the same way; what is counted, masked and refused."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from app.backbones import BackboneConfig
from app.batches import DataSpec, ParsingBatch
from app.errors import InputError
from app.norms import NormSpec
from app.tasks import DependencyParsing
from app.tasks.base import totals
from app.tasks.optimization import OptimizerConfig
from app.tasks.parsing.biaffine import BiaffineConfig
from app.tasks.parsing.word_features import FeatureConfig
from tests.conftest import mostly_slow

BERT = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
BACKBONES = {"mlp": ("mlp", {"hidden_size": 16, "hidden_dropout_prob": 0.0}), "biaffine": ("bert", BERT)}
ENTRIES = {"words": 20, "tags": 8, "characters": 12}
FEATURES = {"words": 6, "tags": 4, "characters": 5}
LABELS = ("det", "nsubj", "root")
DATA_SPEC = DataSpec(
    {"vocab_size": 30, "pad_token_id": 0}, LABELS, features=ENTRIES, root_labels=(False, False, True),
    score_groups=("punct",),
)  # fmt: skip
TREES = [([2, 3, 0, 3], [0, 1, 2, 1]), ([0], [2]), ([2, 0], [1, 2])]
PARSERS = pytest.mark.parametrize("parser", BACKBONES)


def task(parser, norm="layernorm", data_spec=DATA_SPEC, features=FEATURES, seed=0, **settings):
    model_type, options = BACKBONES[parser]
    return DependencyParsing(
        backbone=BackboneConfig(model_type, options), optimizer=OptimizerConfig(), norm=NormSpec.parse(norm),
        data_spec=data_spec, parser=parser, features=FeatureConfig(**features), seed=seed, **settings,
    )  # fmt: skip


def batch(trees=TREES, relations=None, universal=None):
    """Two subwords a word; the second word of each sentence is punctuation; ids follow from a sentence's length."""
    longest = max(len(heads) for heads, _ in trees)
    rows = len(trees)
    lengths = torch.tensor([len(heads) for heads, _ in trees])
    place = torch.arange(longest + 1)
    real = place <= lengths.unsqueeze(1)  # (B, W + 1)
    number = lengths.unsqueeze(1)
    words = torch.where(real, 3 + (place * 2 + number) % 15, 0)
    subwords = torch.arange(2 * longest + 2)
    of_word = torch.where(subwords <= 2 * lengths.unsqueeze(1), (subwords + 1) // 2, longest + 1)
    input_ids = torch.where(subwords <= 2 * lengths.unsqueeze(1) + 1, 1 + (subwords * 3 + number) % 28, 0)

    def padded(column):
        return torch.tensor([list(tree[column]) + [-100] * (longest - len(tree[0])) for tree in trees])

    heads = padded(0)
    return ParsingBatch(
        index=torch.arange(rows), loss_denominator=int(lengths.sum()), is_dummy=False, lengths=lengths, words=words,
        tags=torch.where(real, 3 + place % 5, 0),
        characters=torch.where(real.unsqueeze(2), 3 + (place.unsqueeze(1) + torch.arange(3)) % 9, 0),
        input_ids=input_ids, word_of_subword=of_word, attention_mask=(input_ids != 0).long(), heads=heads,
        relations=padded(1) if relations is None else relations, projective_heads=heads,
        universal_relations=padded(1) if universal is None else universal,
        scored=(scored := ((place[1:] != 2) & real[:, 1:]).unsqueeze(2)), writers=[], real_words=int(lengths.sum()),
        is_parsed=lengths > 0, all_words=lengths, scored_words=(int(scored.sum()),),
    )  # fmt: skip


@pytest.mark.parametrize("parser", mostly_slow(BACKBONES, "mlp"))
@pytest.mark.parametrize("norm", mostly_slow(("layernorm", "none"), "layernorm"))
def test_it_learns_its_trees(parser, norm):
    # no dropout anywhere: its masks would come from the global generator, and so from the tests that ran before
    model = task(parser, norm, biaffine=BiaffineConfig(dropout=0))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        loss = model.train_loss(batch()).objective / 7
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        counts = totals(model.eval().evaluate(batch(), "test"))
    assert counts["loss"][0] / 7 < 0.01
    assert {name: (int(right), of) for name, (right, of) in counts.items() if name != "loss"} == {
        "uas": (7, 7), "las": (7, 7), "match": (3, 3), "uas_of_next": (5, 7), "uas_without_punct": (5, 5),
        "las_without_punct": (5, 5), "uas_of_next_without_punct": (3, 5),
    }  # fmt: skip


@PARSERS
def test_scores_do_not_depend_on_padding_and_batch_mates(parser):
    model = task(parser).eval()
    alone = [totals(model.evaluate(batch([tree]), "test")) for tree in TREES]
    for name, (value, of) in totals(model.evaluate(batch(), "test")).items():
        assert sum(counts[name][1] for counts in alone) == of
        torch.testing.assert_close(sum(counts[name][0] for counts in alone), value, rtol=1e-5, atol=1e-5)


@PARSERS
def test_loss_of_training_and_of_evaluation_are_the_same_nats(parser):
    model = task(parser).eval()
    trained, (scored, units) = model.train_loss(batch()), totals(model.evaluate(batch()))["loss"]
    torch.testing.assert_close(trained.nats.double(), scored, rtol=1e-5, atol=1e-5)
    assert trained.units == units == 7
    assert torch.equal(trained.objective, trained.nats) and trained.objective.requires_grad


def test_biaffine_nats_are_those_of_heads_and_relations():
    model = task("biaffine").eval()
    given = batch()
    words = model.parser._words(model.model, given)
    arcs = model.parser._arcs(words, given).log_softmax(-1)
    relations = model.parser._relations(words, given.heads.clamp(min=0)).log_softmax(-1)
    by_hand = 0.0
    for row, (heads, labels) in enumerate(TREES):
        for word, (head, label) in enumerate(zip(heads, labels, strict=True)):
            by_hand -= (arcs[row, word, head] + relations[row, word, label]).item()
    assert totals(model.evaluate(given))["loss"][0].item() == pytest.approx(by_hand, rel=1e-5)
    assert (arcs[1, 0].exp() > 0).tolist() == [True, False, False, False, False]  # one word: the root alone is left


def test_biaffine_scores_are_the_bilinear_form():
    model = task("biaffine").eval()
    torch.manual_seed(0)
    torch.nn.init.normal_(model.parser.arc.weight)
    torch.nn.init.normal_(model.parser.relation.weight)
    parser, given = model.parser, batch()
    words = parser._words(model.model, given)
    dependent, head = parser.arc_dependent(words)[0, 1], parser.arc_head(words)[0, 3]
    weight = parser.arc.weight  # (size, size + 1)
    expected = dependent @ weight[:, :-1].T @ head + weight[:, -1] @ head
    torch.testing.assert_close(parser._arcs(words, given)[0, 0, 3], expected, rtol=1e-4, atol=1e-4)
    form = parser.relation.weight.view(3, 65, 65)
    one = torch.ones(1)
    dependent, head = (
        torch.cat([parser.relation_dependent(words)[0, 1], one]), torch.cat([parser.relation_head(words)[0, 3], one])
    )  # fmt: skip
    scores = parser._relations(words, torch.full((3, 4), 3))[0, 0]
    torch.testing.assert_close(scores, torch.einsum("rij,j,i->r", form, dependent, head), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_words_are_pooled_out_of_their_own_subwords(pooling):
    model = task("biaffine", features={}, biaffine=BiaffineConfig(pooling=pooling)).eval()
    given = batch()
    hidden = model.model(given.input_ids, given.attention_mask).last_hidden_state
    words = model.parser._words(model.model, given)
    torch.testing.assert_close(words[0, 0], hidden[0, 0])
    second = hidden[0, 3] if pooling == "first" else hidden[0, 3:5].mean(0)
    torch.testing.assert_close(words[0, 2], second)


@PARSERS
def test_a_root_relation_stands_at_the_root_alone(parser):
    model = task(parser).eval()
    scorer = model.parser.relation if parser == "biaffine" else model.parser.score
    torch.nn.init.normal_(scorer.weight, std=3)
    parsed = model.parser.parse(model.model, batch())
    real = batch().is_word
    assert torch.equal((parsed.relations == 2) & real, (parsed.heads == 0) & real)


@PARSERS
def test_a_relation_that_training_does_not_have_costs_nothing_and_is_wrong(parser):
    model = task(parser).eval()
    relations = torch.tensor([[0, -100, 2, 1], [2, -100, -100, -100], [1, 2, -100, -100]])
    known, unknown = totals(model.evaluate(batch())), totals(model.evaluate(batch(relations=relations)))
    assert torch.isfinite(unknown["loss"][0]) and unknown["loss"][0] < known["loss"][0]
    assert unknown["las"][0] <= unknown["uas"][0] == known["uas"][0]


def test_las_ignores_subtypes_also_those_that_training_does_not_have():
    labels = ("det", "nsubj", "nsubj:pass", "root")
    spec = dataclasses.replace(DATA_SPEC, labels=labels, root_labels=(False, False, False, True))
    model = task("mlp", data_spec=spec).eval()
    found = model.parser.parse(model.model, batch())
    right = [(row[:length].tolist(), [1] * length) for row, length in zip(found.heads, (4, 1, 2), strict=True)]
    model.parser.parse = lambda *_: found._replace(relations=torch.full((3, 4), 2))  # nsubj:pass, not nsubj
    counts = totals(model.evaluate(batch(right)))
    assert (counts["uas"][0], counts["las"][0], counts["las_strict"][0], counts["match"][0]) == (7, 7, 0, 0)
    unseen = batch(right, relations=torch.full((3, 4), -100))
    assert totals(model.evaluate(unseen))["las"][0] == 7
    assert "las_strict" not in task("mlp").ratio_metrics


@PARSERS
def test_without_relations_there_is_no_las(parser):
    model = task(parser, data_spec=dataclasses.replace(DATA_SPEC, labels=(), root_labels=())).eval()
    counts = model.evaluate(batch([(heads, [0] * len(heads)) for heads, _ in TREES]))
    assert counts.keys() == {"loss", "uas", "match", "uas_without_punct"}
    assert model.primary.name == "uas" and not [name for name in model.ratio_metrics if "las" in name]


@PARSERS
def test_every_parameter_has_a_gradient(parser):
    model = task(parser)
    model.train_loss(batch()).objective.backward()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_unknown_words_are_drawn_in_training_alone():
    model = task("mlp", features={**FEATURES, "unknown": 0.5})
    assert torch.equal(model.eval().parser.features(batch()), model.parser.features(batch()))
    torch.manual_seed(0)
    drawn = model.train().parser.features._some_unknown(batch().words)
    changed = drawn != batch().words
    assert changed.any() and (drawn[changed] == 1).all() and not changed[batch().words == 0].any()


def test_letters_are_a_convolution_with_the_largest_value_over_a_word():
    features = task("mlp").eval().parser.features
    given = batch()
    letters = features.letters(given.characters[0, 1]).T  # (letter, C)
    spelled = F.conv1d(letters, features.convolution.weight, features.convolution.bias, padding=1).amax(-1).clamp(min=0)
    torch.testing.assert_close(features(given)[0, 1, -5:], spelled)


ENCODERS = {
    "albert": {**BERT, "embedding_size": 8},
    "electra": {**BERT, "embedding_size": 8},
    "xlnet": {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 16},
}


@pytest.mark.parametrize("model_type", ENCODERS)
def test_biaffine_takes_any_encoder_and_leaves_nothing_without_a_gradient(model_type):
    model = DependencyParsing(
        backbone=BackboneConfig(model_type, ENCODERS[model_type]), optimizer=OptimizerConfig(),
        norm=NormSpec.parse("layernorm"), data_spec=DATA_SPEC, features=FeatureConfig(**FEATURES),
    )  # fmt: skip
    model.train_loss(batch()).objective.backward()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_biaffine_scores_in_half_precision_find_trees():
    model = task("biaffine").eval().half()
    torch.nn.init.normal_(model.parser.arc.weight, std=100)
    heads = model.parser.parse(model.model, batch(), with_loss=False).heads
    assert ((heads == 0) & batch().is_word).sum(1).tolist() == [1, 1, 1]


BART = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
WRONG = {
    "an encoder with a decoder": (("biaffine", "bart"), {"sizes": BART}, "needs a text encoder, which bart is not"),
    "an encoder of images": (("biaffine", "vit"), {}, "needs a text encoder, which vit is not"),
    "a parser without its backbone": (("mlp", "bert"), {}, "model.parser is mlp and the backbone bert"),
    "a backbone without its parser": (("biaffine", "mlp"), {}, "model.parser is biaffine and the backbone mlp"),
    "nothing to read": (("mlp", "mlp"), {"features": {}}, "has no features of words to read"),
    "features that the data lacks": (("mlp", "mlp"), {"entries": {"words": 9}}, "features.tags is 4.*set data.tags"),
    "a negative size": (("mlp", "mlp"), {"features": {"words": -1}}, "features.words is -1"),
    "a share": (("mlp", "mlp"), {"features": {"unknown": 1.0}}, "features.unknown is 1.0"),
    "no subwords": (("biaffine", "bert"), {"options": {}}, "needs subwords.*data.tokenizer"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_together_is_refused(wrong):
    (parser, model_type), changes, words = WRONG[wrong]
    data_spec = dataclasses.replace(
        DATA_SPEC,
        features=changes.get("entries", ENTRIES),
        model_options=changes.get("options", DATA_SPEC.model_options),
    )
    backbone = BackboneConfig(model_type, {} if model_type == "mlp" else changes.get("sizes", BERT))
    with pytest.raises(InputError, match=words):
        features = FeatureConfig(**changes.get("features", FEATURES))
        DependencyParsing(
            backbone=backbone, optimizer=OptimizerConfig(), norm=NormSpec.parse("layernorm"), data_spec=data_spec,
            parser=parser, features=features,
        )  # fmt: skip
