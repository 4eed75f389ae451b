"""Continuing a prompt: what is drawn, and that every way of feeding a model sees the same text."""

import pytest
import torch

from app.errors import InputError
from app.tasks.generation.sampling import SamplingConfig, continue_prompt
from tests.tasks.test_language_modeling import task

PROMPT = torch.tensor([10, *b"the red dog "])
FAMILIES = ["xlnet", "gpt2"]


def go_on(family, model, how, position=0):
    return continue_prompt(model, PROMPT, how, position, with_memory=family == "xlnet")


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_likeliest_bytes_are_those_of_one_forward_over_all(family):
    model = task(family).double().eval().model
    added = go_on(family, model, SamplingConfig(length=8, temperature=0))
    for count in range(8):
        text = torch.cat([PROMPT, torch.tensor(added[:count], dtype=torch.int64)])
        logits = model(input_ids=text.unsqueeze(0)).logits[0, -1]
        assert int(logits.argmax()) == added[count]


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_draws_depend_on_seed_and_position_alone(family):
    model = task(family).eval().model
    how = SamplingConfig(length=20, seed=1)
    first = go_on(family, model, how)
    assert first == go_on(family, model, how)
    assert first != go_on(family, model, how, position=1)
    assert first != go_on(family, model, SamplingConfig(length=20, seed=2))
    assert go_on(family, model, SamplingConfig(length=2, seed=2**62))


@pytest.mark.slow
@torch.no_grad()
def test_draws_follow_the_distribution_and_top_k_cuts_it():
    model = task("gpt2").double().eval().model
    logits = model(input_ids=PROMPT.unsqueeze(0)).logits[0, -1] * 20  # temperature 0.05: far from uniform
    how = {"length": 1, "temperature": 0.05}
    drawn = torch.tensor([go_on("gpt2", model, SamplingConfig(**how), n)[0] for n in range(600)])
    share = torch.bincount(drawn, minlength=256) / 600
    assert (share - logits.softmax(-1)).abs().max() < 4 * 0.5 / 600**0.5
    likeliest = set(logits.topk(3).indices.tolist())
    assert {go_on("gpt2", model, SamplingConfig(**how, top_k=3), n)[0] for n in range(100)} <= likeliest


@torch.no_grad()
def test_a_text_longer_than_the_window_goes_on():
    model = task("gpt2").eval().model
    added = continue_prompt(model, PROMPT.repeat(4), SamplingConfig(length=5), 0, with_memory=False)
    assert len(added) == 5


@pytest.mark.parametrize("settings", [{"length": 0}, {"temperature": -1.0}, {"top_k": 0}, {"seed": -1}])
def test_impossible_settings_are_refused(settings):
    (key, value), *_ = settings.items()
    with pytest.raises(InputError, match=f"sampling {key} is {value}; must be"):
        SamplingConfig(**settings)


@torch.no_grad()
def test_a_model_of_any_length_that_was_trained_on_windows_sees_the_whole_prompt():
    model = task("xlnet", streams=False).double().eval().model
    how = SamplingConfig(length=3, temperature=0)
    assert continue_prompt(model, PROMPT, how, 0, with_memory=False) == go_on("xlnet", model, how)
    assert len(continue_prompt(model, PROMPT[:1], how, 0, with_memory=False)) == 3


@pytest.mark.parametrize("value", [float("nan"), -0.5])
def test_no_temperature_is_refused(value):
    with pytest.raises(InputError, match="temperature is"):
        SamplingConfig(temperature=value)
