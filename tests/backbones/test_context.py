"""Where each norm stands, as a traced forward pass tells it, against a table read off the models' code."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from app.backbones import inject_norms, norm_sites
from app.backbones.context import norm_contexts
from app.backbones.trace import Source, Target, edges_of, fresh
from app.errors import InputError
from app.norms import NormContext
from tests.backbones.families import FAMILIES, batch, tiny, values

PRE_OR_POST = ("attention", "ffn")
DECODER = ("attention", "cross_attention", "ffn")
SANDWICH = ("attention", "attention", "ffn", "ffn")

# Roles in the order of model.named_modules(): outside before the blocks, in each block, outside after the blocks.
ROLES: dict[str, list[str]] = {
    **{
        family: ["embedding", *PRE_OR_POST, *PRE_OR_POST]
        for family in ("bert", "roberta", "electra", "distilbert", "deberta")
    },
    "albert": ["embedding", "ffn", "attention"],  # one layer, which registers the second norm first
    # the norms of the relative positions and of the convolution beside the first layer
    "deberta-v2": ["embedding", *PRE_OR_POST, *PRE_OR_POST, "embedding", "other"],
    "modernbert": ["embedding", "ffn", *PRE_OR_POST, "final"],  # the first layer has no norm before attention
    "roberta-prelayernorm": ["embedding", *PRE_OR_POST, *PRE_OR_POST, "final"],
    "vit": [*PRE_OR_POST, *PRE_OR_POST, "final"],
    "gpt2": [*PRE_OR_POST, *PRE_OR_POST, "final"],
    "xlnet": [*PRE_OR_POST, *PRE_OR_POST],
    "llama": [*PRE_OR_POST, *PRE_OR_POST, "final"],
    "t5": [*PRE_OR_POST, *PRE_OR_POST, "final", *DECODER, *DECODER, "final"],
    "bart": [*PRE_OR_POST, *PRE_OR_POST, "embedding", *DECODER, *DECODER, "embedding"],
    "mbart": [*PRE_OR_POST, *PRE_OR_POST, "embedding", "final", *DECODER, *DECODER, "embedding", "final"],
    "marian": [*PRE_OR_POST, *PRE_OR_POST, *DECODER, *DECODER],
    "qwen3": ["qk", "qk", *PRE_OR_POST, "qk", "qk", *PRE_OR_POST, "final"],
    "gemma2": [*SANDWICH, *SANDWICH, "final"],
    "gemma3_text": ["qk", "qk", *SANDWICH, "qk", "qk", *SANDWICH, "final"],
    "olmo2": ["qk", "qk", *PRE_OR_POST, "qk", "qk", *PRE_OR_POST, "final"],  # after the branches
    "opt": ["final", *PRE_OR_POST, *PRE_OR_POST],  # flattens the positions for its second norm
    "phi": ["attention", "attention", "final"],  # one norm before both branches
    "gpt_neox": [*PRE_OR_POST, *PRE_OR_POST, "final"],  # both branches of the same input
    "bitnet": ["attention", "ffn", *PRE_OR_POST, "attention", "ffn", *PRE_OR_POST, "final"],  # norms in the branches
    "swin": ["embedding", *PRE_OR_POST, "other", *PRE_OR_POST, *PRE_OR_POST, "final"],  # shifted windows, two stages
}
CAUSAL = {"gpt2", "llama", "qwen3", "gemma2", "gemma3_text", "olmo2", "opt", "phi", "gpt_neox", "bitnet"}


def contexts_of(family: str) -> list[NormContext]:
    model = tiny(family)
    sites = norm_sites(model)
    found = norm_contexts(model, sites)
    assert found.fault is None
    return [found.by_path[site.path] for site in sites]


@pytest.mark.parametrize("family", ROLES)
def test_roles_are_what_the_models_code_says(family):
    contexts = contexts_of(family)
    assert [context.role for context in contexts] == ROLES[family]
    stacks = [context.stack for context in contexts]
    if family in ("t5", "bart", "mbart", "marian"):
        half = ROLES[family].index("attention", ROLES[family].index("ffn", 2) + 1)
        assert stacks == ["encoder"] * half + ["decoder"] * (len(stacks) - half)
    else:
        assert set(stacks) == {"decoder" if family in CAUSAL else "encoder"}


def test_the_table_has_all_families():
    assert set(FAMILIES) <= ROLES.keys()


def test_layers_are_counted_from_one_and_width_is_that_of_the_stream():
    qwen3 = contexts_of("qwen3")
    assert [context.layer for context in qwen3] == [1] * 4 + [2] * 4 + [None]
    assert {context.layers for context in qwen3} == {2}
    assert {context.width for context in qwen3} == {32}, "also for the norms of single heads"
    assert [context.layer for context in contexts_of("swin")] == [None, 1, 1, None, 2, 2, 3, 3, None]
    assert {context.layers for context in contexts_of("albert")} == {1}


@pytest.mark.parametrize("family", ["t5", "swin"])
def test_nothing_is_changed(family):
    model = tiny(family).train()
    model.get_submodule("encoder").eval()
    next(model.parameters()).requires_grad_(False)
    before, state = values(model), torch.get_rng_state()
    modes = [module.training for module in model.modules()]
    trained = [parameter.requires_grad for parameter in model.parameters()]
    norm_contexts(model, norm_sites(model))
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == trained
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_of_a_model_that_refuses_the_made_up_input_only_the_blocks_are_known():
    model = nn.Sequential(nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))] * 2), nn.LayerNorm(4))
    found = norm_contexts(model, norm_sites(model))
    assert found.fault is not None and "Sequential refused a made-up input" in found.fault
    assert [(context.role, context.layer) for context in found.by_path.values()] == [("other", 1), ("other", None)]
    assert len(inject_norms(model, "layernorm_simple")) == 2, "what needs no role works"
    with pytest.raises(InputError, match="alpha_init auto of norm 'dyt' needs one forward pass, which Sequential"):
        inject_norms(model, "dyt", alpha="auto")


def test_a_norm_that_gets_no_position_is_reached_by_nothing():
    source = Source(fresh(torch.zeros(2, 4)))
    assert edges_of(Target(source.leaf[:0] * 2, [source])) == {}


def test_a_model_that_captures_hidden_states_gives_as_many_as_before():
    model, watched = tiny("llama").eval(), tiny("llama").eval()
    norm_contexts(watched, norm_sites(watched))
    expected, found = (m(**batch("llama"), output_hidden_states=True).hidden_states for m in (model, watched))
    assert len(found) == len(expected) == 3
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


class Restless(nn.Module):
    """What a forward pass may change of itself and of the world."""

    main_input_name = "input_ids"

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, 4)
        self.layers = nn.ModuleList([nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4)) for _ in range(2)])
        self.register_buffer("calls", torch.zeros(()))
        self.state = None

    def forward(self, input_ids):
        self.calls += 1
        x = self.embed(input_ids)
        for layer in self.layers:
            x = x + layer(x) + np.random.rand() * 0 + random.random() * 0
        self.state = x
        self.layers[0].register_forward_hook(lambda *_: None)
        return x


def test_buffers_states_hooks_and_other_random_numbers_are_as_before():
    model = Restless()
    states = np.random.get_state()[1].copy(), random.getstate()
    assert norm_contexts(model, norm_sites(model)).fault is None
    assert float(model.calls) == 0 and model.state is None and not model.layers[0]._forward_hooks
    assert (np.random.get_state()[1] == states[0]).all() and random.getstate() == states[1]
