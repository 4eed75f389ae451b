"""The preset final: the closing norm of each stack and no other, against a table read off the models' code."""

import pytest
import torch
from torch import nn

from app.backbones import inject_norms
from app.errors import InputError
from app.norms import Norm
from tests.backbones.families import FAMILIES, FINAL, tiny, values


@pytest.mark.parametrize("family", FAMILIES)
def test_final_reaches_what_the_models_code_says(family):
    model = tiny(family).train()
    before, state = values(model), torch.get_rng_state()
    if family not in FINAL:
        with pytest.raises(InputError, match=r"'final' matches no norm of .* norms: \w+\..* roles: attention"):
            inject_norms(model, "layernorm_simple", sites="final")
        assert not any(isinstance(module, Norm) for module in model.modules())
        return
    assert [r.path for r in inject_norms(model, "layernorm_simple", sites="final")] == FINAL[family]
    assert [n for n, m in model.named_modules() if isinstance(m, Norm)] == FINAL[family]
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    after = model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in after)
    inject_norms(model, "layernorm_simple")
    assert [r.path for r in inject_norms(model, "layernorm", sites="final")] == FINAL[family], "when injected before"


@pytest.mark.parametrize(
    ("family", "auto_class", "prefix"),
    [
        ("gpt2", "AutoModelForCausalLM", "transformer."),
        ("llama", "AutoModelForCausalLM", "model."),
        ("vit", "AutoModelForImageClassification", "vit."),
        ("modernbert", "AutoModelForMaskedLM", "model."),
        ("t5", "AutoModelForSeq2SeqLM", ""),
        ("mbart", "AutoModelForSeq2SeqLM", "model."),
        ("mbart", "AutoModelForSequenceClassification", "model."),
    ],
)
def test_final_under_a_head_takes_no_norm_of_the_head(family, auto_class, prefix):
    records = inject_norms(tiny(family, auto_class), "layernorm_simple", sites="final")
    assert [r.path for r in records] == [prefix + path for path in FINAL[family]]


@pytest.mark.parametrize("family", ["bert", "electra", "distilbert", "deberta-v2", "albert"])
def test_the_norm_of_a_prediction_head_is_not_final(family):
    with pytest.raises(InputError, match="final"):
        inject_norms(tiny(family, "AutoModelForMaskedLM"), "layernorm_simple", sites="final")


def test_final_keeps_a_mixture_of_modes():
    model = tiny("gpt2").train()
    model.h[0].eval()
    modes = [module.training for module in model.modules()]
    inject_norms(model, "layernorm", sites="final")
    assert [module.training for module in model.modules()] == modes


class LoopedPreNorm(nn.Module):
    """The same pre-norm layer several times, so that its own norm also takes in what the last layer gave out."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, 4)
        self.layers = nn.ModuleList([nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4))])
        self.closing = nn.LayerNorm(4)

    def forward(self, input_ids):
        x = self.embed(input_ids)
        for _ in range(3):
            x = self.layers[0](x)
        return self.closing(x)


def test_final_takes_no_norm_of_a_layer_that_runs_again():
    assert [r.path for r in inject_norms(LoopedPreNorm(), "layernorm", sites="final")] == ["closing"]


def test_final_on_a_model_of_another_kind_is_refused():
    model = nn.Sequential(nn.ModuleList([nn.Linear(4, 4)]), nn.LayerNorm(4))
    with pytest.raises(InputError, match=r"refused .* regular expressions and numbers instead; its norms: 1"):
        inject_norms(model, "layernorm", sites="final")
