"""Weight decay by module type, and schedules against their formulas."""

import math

import pytest
import torch
from torch import nn

from app.backbones import inject_norms
from app.backbones.inject import registered_norm
from app.errors import InputError
from app.norms import NormRule, NormSpec, build_norm, norm_names
from app.tasks.optimization import OptimizerConfig, build_optimizer, parameter_groups
from tests.exactness.cases import CASES


class Oddly(nn.Module):
    """Names that would mislead whoever decides by name."""

    def __init__(self):
        super().__init__()
        self.norm_table = nn.Embedding(5, 4)
        self.LayerNorm_projection = nn.Linear(4, 4)
        self.plain = nn.LayerNorm(4)
        self.over_map = nn.LayerNorm((2, 4))


def decays(model):
    first, second = parameter_groups(model, OptimizerConfig(weight_decay=0.1))
    assert first["weight_decay"] == 0.1 and second["weight_decay"] == 0.0
    return {id(p) for p in first["params"]}, {id(p) for p in second["params"]}


def test_matrices_decay_and_norms_and_biases_do_not():
    model = Oddly()
    decayed, plain = decays(model)
    assert decayed == {id(model.norm_table.weight), id(model.LayerNorm_projection.weight)}
    assert plain == {
        id(p) for p in [model.LayerNorm_projection.bias, *model.plain.parameters(), *model.over_map.parameters()]
    }


@pytest.mark.parametrize("norm", norm_names())
def test_no_injected_norm_decays(norm):
    model = Oddly()
    inject_norms(model, norm, **registered_norm(build_norm(norm, 4))[1])
    decayed, _ = decays(model)
    assert decayed == {id(model.norm_table.weight), id(model.LayerNorm_projection.weight)}


def test_shared_and_frozen_parameters_are_listed_once_or_not_at_all():
    model = Oddly()
    model.again = model.LayerNorm_projection
    model.norm_table.weight.requires_grad_(False)
    decayed, plain = decays(model)
    assert decayed == {id(model.LayerNorm_projection.weight)} and len(plain) == 5


LABORATORY = (
    {"name": "layernorm", "sites": ["plain"], "weight_decay": 0.2, "lr_multiplier": 3, "freeze": "bias"},
    {"name": "dyt", "lr_multiplier": 0},
)


def laboratory():
    """A model whose two norms have rules, and what the optimizer gets of them."""
    model = Oddly()
    records = inject_norms(model, NormSpec.parse(LABORATORY))
    return model, [(model.get_submodule(record.path), record.rule) for record in records]


def test_a_rule_has_a_group_of_its_own_and_the_others_stay():
    model, norms = laboratory()
    decayed, plain, first, second = parameter_groups(model, OptimizerConfig(lr=0.5, weight_decay=0.1), norms)
    assert (first["weight_decay"], first["lr"]) == (0.2, 1.5) and (second["weight_decay"], second["lr"]) == (0.0, 0.0)
    assert first["params"] == [model.plain.weight]
    assert {id(p) for p in second["params"]} == {id(p) for p in model.over_map.parameters()}
    assert {id(p) for p in decayed["params"]} == {id(model.norm_table.weight), id(model.LayerNorm_projection.weight)}
    assert plain["params"] == [model.LayerNorm_projection.bias] and "lr" not in decayed and "lr" not in plain
    frozen = [(module, NormRule("layernorm", freeze="gain")) for module, _ in norms]
    assert len(parameter_groups(model, OptimizerConfig(), frozen)) == 2


def test_a_rule_is_told_at_the_start_and_its_rate_follows_the_schedule(monkeypatch):
    lines = []
    monkeypatch.setattr("app.tasks.optimization.log.info", lambda text, *values: lines.append(text % values))
    model, norms = laboratory()
    config = OptimizerConfig(lr=2.0, schedule="linear", warmup_steps=4, warmup_from=0.5)
    optimizer, scheduler = build_optimizer(model, config, 10, norms=norms)
    assert lines[-1] == (
        "weight decay 0.01 on 2 tensors (36 numbers), none on 1 tensors (4 numbers); layernorm at `plain`: weight "
        "decay 0.2, learning rate x 3 on gain (1 tensors, 4 numbers), bias frozen; dyt at all: no weight decay, "
        "learning rate x 0 (constant) on alpha, gain, bias (3 tensors, 17 numbers)"
    )
    for _ in range(10):
        rate, plain, tripled, none = (group["lr"] for group in optimizer.param_groups)
        assert plain == rate and tripled == pytest.approx(3 * rate, rel=1e-12) and none == 0
        optimizer.step()
        scheduler.step()


FORMULAS = {
    "constant": lambda t, warm, total: 1.0,
    "linear": lambda t, warm, total: (total - t) / (total - warm),
    "cosine": lambda t, warm, total: 0.5 * (1 + math.cos(math.pi * (t - warm) / (total - warm))),
    "inverse_sqrt": lambda t, warm, total: math.sqrt(warm / t),
}


@pytest.mark.parametrize("schedule", FORMULAS)
def test_schedule_follows_its_formula(schedule):
    warm, total = 10, 50
    config = OptimizerConfig(lr=2.0, schedule=schedule, warmup_steps=warm)
    optimizer, scheduler = build_optimizer(nn.Linear(2, 2), config, total)
    for step in range(total):
        expected = step / warm if step < warm else FORMULAS[schedule](step, warm, total)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(2.0 * expected, abs=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_optimizer_is_the_one_asked_for(name):
    optimizer, _ = build_optimizer(nn.Linear(2, 2), OptimizerConfig(name=name, betas=(0.8, 0.9), eps=1e-6), None)
    assert type(optimizer) is {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    assert optimizer.defaults["betas"] == (0.8, 0.9) and optimizer.defaults["eps"] == 1e-6


@pytest.mark.parametrize(
    "options",
    [{"lr": 0}, {"eps": -1}, {"weight_decay": -0.1}, {"warmup_steps": -1}, {"betas": (0.9, 1.0)},
     {"schedule": "inverse_sqrt"}],
)  # fmt: skip
def test_impossible_settings_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options)).split("_")[0]):
        OptimizerConfig(**options)


def test_a_schedule_that_ends_must_know_where():
    with pytest.raises(InputError, match="max_epochs"):
        build_optimizer(nn.Linear(2, 2), OptimizerConfig(schedule="cosine"), None)


@pytest.mark.parametrize(("precision", "fused"), [("32-true", True), ("bf16-mixed", False)])
def test_one_kernel_updates_all_parameters_but_where_gradients_are_clipped_under_a_scale(
    train, tiny_texts, tmp_path, precision, fused
):
    case = CASES["classification"]
    limits = ["--trainer.max_steps=2", f"--trainer.precision={precision}", "--trainer.gradient_clip_val=1"]
    assert train("fit", case.config, *case.arguments(tiny_texts), *limits, f"--run_root={tmp_path}") == 0
    (last,) = tmp_path.rglob("last.ckpt")
    groups = torch.load(last, weights_only=False)["optimizer_states"][0]["param_groups"]
    assert [bool(group["fused"]) for group in groups] == [fused, fused]


@pytest.mark.parametrize(("total_steps", "says"), [(100, True), (18, True), (101, False), (None, False)])
def test_a_warm_up_that_is_as_long_as_the_run_is_said(total_steps, says, monkeypatch):
    lines = []
    monkeypatch.setattr("app.tasks.optimization.log.info", lambda text, *values: lines.append(text % values))
    build_optimizer(nn.Linear(2, 2), OptimizerConfig(lr=3e-4, warmup_steps=100), total_steps)
    said = f"warmup_steps is 100, and the run has {total_steps} updates: the learning rate never reaches 0.0003"
    assert any(said in line for line in lines) == says
