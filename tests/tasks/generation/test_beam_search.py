"""Search: greedy and beams against plain loops over all hypotheses, limits, sentences that do not disturb others."""

import itertools

import pytest
import torch

from app.errors import InputError
from app.tasks.generation.beam_search import DecodingConfig, start_token, translate
from tests.tasks.test_translation import END, FAMILIES, PAD, START, task

SOURCES = [[7, 8, 9, 10, END], [11, END], [12, 13, 14, END]]


def padded(rows):
    longest = max(map(len, rows))
    ids = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
    return ids, (ids != PAD).long()


def model_of(family="mbart", seed=0, vocabulary=20):
    """In float64, with larger weights than initial ones, so that hypotheses differ clearly."""
    from app.batches import DataSpec
    from tests.tasks.test_translation import SPECIAL

    data_spec = DataSpec({"vocab_size": vocabulary, **SPECIAL}, max_length=12, decode=str)
    model = task(family, seed=seed, data_spec=data_spec).double().eval().model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model


def log_p(model, source, target):
    """Of each token of a target, one forward over all of it."""
    inputs = torch.tensor([[START, *target[:-1]]])
    logits = model(input_ids=torch.tensor([source]), decoder_input_ids=inputs).logits[0]
    return logits.log_softmax(-1)[range(len(target)), target]


def until_end(row):
    return row[: row.index(END) + 1] if END in row else row


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_greedy_takes_the_likeliest_token_each_time(family):
    model = model_of(family)
    rows = translate(model, *padded(SOURCES), DecodingConfig(beams=1, max_ratio=1.0, max_extra=4))
    for source, row in zip(SOURCES, rows, strict=True):
        target = []
        while len(target) < len(source) + 3 and END not in target:
            inputs = torch.tensor([[START, *target]])
            target.append(int(model(input_ids=torch.tensor([source]), decoder_input_ids=inputs).logits[0, -1].argmax()))
        assert until_end(row) == (target if END in target else [*target, END])


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
@torch.no_grad()
def test_enough_beams_find_the_best_of_all_hypotheses(penalty):
    model = model_of(vocabulary=6)
    tokens = [token for token in range(6) if token != END]
    how = DecodingConfig(beams=36, length_penalty=penalty, max_ratio=0.0, max_extra=3)  # two tokens and the end
    found = until_end(translate(model, *padded([[5, 4, END]]), how)[0])

    def rank(target):
        scores = log_p(model, [5, 4, END], target)
        scores = scores[:-1] if len(target) == 3 else scores  # at the limit the end is certain
        return float(scores.sum()) / len(target) ** penalty

    targets = [[*body, END] for size in range(3) for body in itertools.product(tokens, repeat=size)]
    assert rank(found) == pytest.approx(max(map(rank, targets)), rel=1e-9)


@pytest.mark.parametrize("beams", [1, 4])
@torch.no_grad()
def test_no_sentence_depends_on_those_beside_it(beams):
    model, how = model_of(), DecodingConfig(beams=beams)
    together = translate(model, *padded(SOURCES), how)
    for source, row in zip(SOURCES, together, strict=True):
        alone = translate(model, *padded([source]), how)[0]
        assert until_end(alone) == until_end(row)


@pytest.mark.parametrize("beams", [1, 3])
@torch.no_grad()
def test_each_sentence_has_a_limit_of_its_own(beams):
    model = model_of()
    model.final_logits_bias[0, END] = -1e4  # would never end
    rows = translate(model, *padded(SOURCES), DecodingConfig(beams=beams, max_ratio=1.0, max_extra=2))
    assert [len(until_end(row)) for row in rows] == [7, 4, 6]
    assert all(END in row for row in rows)


@torch.no_grad()
def test_the_limit_keeps_within_the_models_positions():
    model = model_of()
    model.final_logits_bias[0, END] = -1e4
    (row,) = translate(model, *padded([SOURCES[0]]), DecodingConfig(beams=1, max_ratio=100.0))
    assert len(until_end(row)) == model.config.max_position_embeddings - 1


@torch.no_grad()
def test_the_models_own_generation_settings_stay():
    model = model_of()
    before = model.generation_config.to_dict()
    translate(model, *padded(SOURCES), DecodingConfig())
    assert model.generation_config.to_dict() == before


def test_the_start_is_what_the_config_says():
    assert all(start_token(model_of(family)) == START for family in FAMILIES)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25, 0.5, 1.0])
def test_a_share_is_spread_evenly(fraction):
    how = DecodingConfig(fraction=fraction)
    taken = [index for index in range(1000) if how.includes(index)]
    assert len(taken) == round(1000 * fraction)
    assert how.includes(0) == (fraction > 0)  # so that however small a part is, it has a score
    assert not taken or max(b - a for a, b in itertools.pairwise([-1, *taken, 1000])) <= 1 / fraction + 1


@pytest.mark.parametrize(
    "settings",
    [
        {"beams": 0}, {"max_ratio": -1}, {"max_ratio": 0, "max_extra": 0}, {"fraction": 1.5}, {"fraction": -0.1},
        {"length_penalty": float("nan")}, {"max_ratio": float("nan")}, {"max_ratio": float("inf")},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(settings):
    with pytest.raises(InputError, match=f"{next(iter(settings))}.* is .*must be"):
        DecodingConfig(**settings)
