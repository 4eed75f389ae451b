"""Each placement against its formula, written by hand around the branches of an untouched model."""

import copy
import math

import pytest
import torch
from torch import nn

from app.backbones.placement import place_norms
from tests.backbones.families import batch, tiny

LAYERS, EPS = 2, 1e-3


def norm(x):
    """N, the same function at all norms: gain 1.3, bias 0.1."""
    return nn.functional.layer_norm(x, x.shape[-1:], eps=EPS) * 1.3 + 0.1


def heads_norm(module, args, z):
    return norm(z.unflatten(-1, (4, 8))).flatten(-2)


class Bert:
    """The parts of a post-norm model: each branch as its last linear map and its dropout."""

    family = "bert"
    values, outputs = ["attention.self.value"], ["attention.output.dense", "intermediate.dense", "output.dense"]
    projections = ("attention.self.query", "attention.self.key", "attention.self.value")

    @staticmethod
    def blocks(model):
        return model.encoder.layer

    @staticmethod
    def branches(block):
        attention, out = block.attention, block.attention.output
        return [
            (lambda x: out.dense(attention.self(x)[0]), out.dropout),
            (lambda x: block.output.dense(block.intermediate(x)), block.output.dropout),
        ]

    @staticmethod
    def start(model, inputs):
        return model.embeddings(input_ids=inputs["input_ids"])


class Vit(Bert):
    """The parts of a pre-norm model whose branches end in modules of their own."""

    family = "vit"
    values, outputs = ["attention.v_proj"], ["attention.o_proj", "mlp.fc1", "mlp.fc2"]
    projections = ("attention.q_proj", "attention.k_proj", "attention.v_proj")

    @staticmethod
    def blocks(model):
        return model.layers

    @staticmethod
    def branches(block):
        return [(lambda x: block.attention(x)[0], nn.Identity()), (block.mlp, nn.Identity())]

    @staticmethod
    def start(model, inputs):
        return model.embeddings(inputs["pixel_values"])


def nothing(x):
    return x


def reference(placement, parts, model, inputs):
    """The formula of a placement, block by block."""
    x = parts.start(model, inputs)
    ends = placement not in ("post", "deepnorm", "keel", "rezero", "b2t")
    for number, block in enumerate(parts.blocks(model), start=1):
        (core_a, drop_a), (core_f, drop_f) = parts.branches(block)

        def attention(x, out=nothing, core=core_a, drop=drop_a):
            return drop(out(core(x)))

        def feed_forward(x, out=nothing, core=core_f, drop=drop_f):
            return drop(out(core(x)))

        if placement == "hybrid":
            n = norm(x + attention(x))
            x = n + feed_forward(n)
            continue
        start = x
        for branch in (attention, feed_forward):
            x = {
                "pre": lambda x, f: x + f(norm(x)),
                "post": lambda x, f: norm(x + f(x)),
                "output": lambda x, f: x + f(x, norm),
                "peri": lambda x, f: x + f(norm(x), norm),
                "mix": (lambda x, f: norm(x + f(x))) if number == 1 else (lambda x, f: x + f(norm(x))),
                "scaled": lambda x, f, number=number: x + f(norm(x) / math.sqrt(number)),
                "deepnorm": lambda x, f: norm((2 * LAYERS) ** 0.25 * x + f(x)),
                "keel": lambda x, f: norm(LAYERS * x + f(norm(x))),
                "layerscale": lambda x, f: x + f(norm(x), lambda z: 0.1 * z),
                "rezero": lambda x, f: x + f(x, lambda z: 0.5 * z),
                "b2t": lambda x, f, start=start, last=branch is feed_forward: norm(x + f(x) + (start if last else 0)),
            }[placement](x, branch)
    return norm(x) if ends else x


PLACEMENTS = (
    "pre", "post", "output", "peri", "mix", "scaled", "deepnorm", "keel", "layerscale", "rezero", "b2t", "hybrid",
)  # fmt: skip


@pytest.mark.parametrize("training", [False, True], ids=["eval", "dropout"])
@pytest.mark.parametrize("parts", [Bert, Vit], ids=lambda parts: parts.family)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_placement_is_its_formula_forward_and_backward(placement, parts, training):
    model = tiny(parts.family).double().train(training)
    if parts is Vit:
        model.layers.apply(lambda m: setattr(m, "dropout_prob", 0.2) if hasattr(m, "dropout_prob") else None)
    plain = copy.deepcopy(model)
    place_norms(model, placement)
    outside = [] if parts is Vit else [model.embeddings.LayerNorm]
    norms = [m for m in model.modules() if hasattr(m, "eps") and hasattr(m, "weight") and m not in outside]
    for module in norms:
        module.eps = EPS
        nn.init.constant_(module.weight, 1.3)
        nn.init.constant_(module.bias, 0.1)
    for module in model.modules():
        if placement == "rezero" and hasattr(module, "branch_scale"):
            assert float(module.branch_scale.detach()) == 0
            nn.init.constant_(module.branch_scale, 0.5)
    for block in parts.blocks(plain):
        if placement == "deepnorm":
            for path in parts.values + parts.outputs:
                block.get_submodule(path).weight.data *= (8 * LAYERS) ** -0.25
        if placement == "hybrid":
            for path in parts.projections:
                block.get_submodule(path).register_forward_hook(heads_norm)
    results = []
    for run in (lambda m, i: m(**i).last_hidden_state, lambda m, i: reference(placement, parts, m, i)):
        torch.manual_seed(1)
        of = model if not results else plain
        y = run(of, {k: v.double() if v.is_floating_point() else v for k, v in batch(parts.family).items()})
        y.square().sum().backward()
        block = parts.blocks(of)[0]
        gradients = [block.get_submodule(path).weight.grad for path in parts.values + parts.outputs]
        results.append((y.detach(), gradients, torch.get_rng_state()))
    (ours, of_ours, state), (theirs, of_theirs, expected_state) = results
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-12 * float(theirs.abs().max()))
    for one, other in zip(of_ours, of_theirs, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-9 * float(other.abs().max()))
    assert torch.equal(state, expected_state), "the same draws"
