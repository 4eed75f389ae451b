"""What is said of norms, parameters and options that do nothing, and that looking changes nothing."""

import types

import pytest
import torch
from torch import Tensor, nn

from app.callbacks.diagnostics.norm_checks import check_norms
from app.norms import Norm, build_norm, norm_names

SIZE = 6


class Model(nn.Module):
    """A residual block and a head; the loss is a sum of squares."""

    def __init__(self, norm, gate=1.0, head=None):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.inner = norm, nn.LayerNorm(SIZE)
        self.linear, self.dropout = nn.Linear(SIZE, SIZE), nn.Dropout(0.5)
        self.head = nn.Linear(SIZE, 2)
        self.gate = gate
        if head is not None:
            nn.init.constant_(self.head.weight, head)
            nn.init.constant_(self.head.bias, head)

    def train_loss(self, batch):
        hidden = self.dropout(batch + self.gate * self.norm(self.linear(batch)))
        logits = self.head(self.inner(hidden))
        return types.SimpleNamespace(objective=(logits * torch.tensor([1.0, -2.0])).sum())


class Useless(Norm):
    """LayerNorm without gain, with a parameter and two options that it does not read."""

    def __init__(self, normalized_shape, eps=1e-5, *, power: float = 2.0, mode: str = "soft", k: float = 1.0):
        super().__init__(normalized_shape, eps)
        self.check_options(power=power, mode=mode, k=k)
        self.power, self.mode, self.k = power, mode, k
        self.unread = nn.Parameter(torch.ones(self.normalized_shape))

    @classmethod
    def check_options(cls, **options):
        super().check_options(**options)
        if options["mode"] not in ("soft", "hard"):
            raise ValueError(f"mode is {options['mode']!r}; allowed: soft, hard")
        if options["power"] > 2:
            raise ValueError("power must be at most 2")

    def normalize(self, x: Tensor) -> Tensor:
        return self.k * nn.functional.layer_norm(x, self.normalized_shape, eps=self.eps)


def checked(norm, batch=None, **settings):
    model = Model(norm, **settings)
    norms = {"norm": model.norm, "inner": model.inner}
    torch.manual_seed(1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch, state = torch.randn(4, 3, SIZE) if batch is None else batch, torch.get_rng_state()
    found = check_norms(model, norms, batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters()) and all(module.training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    return found


@pytest.mark.parametrize("name", norm_names())
@pytest.mark.parametrize("settings", [{}, {"head": 0.0}, {"gate": 1e-7}], ids=str)
def test_nothing_is_said_against_a_norm_that_acts(name, settings):
    """Not where a head starts at zero either, so that no gradient reaches the norms, nor before a tiny gate."""
    own, inner = checked(build_norm(name, SIZE), **settings)
    for check in (own, inner):
        assert check.is_called and check.moves_loss
        assert not (check.without_gradient or check.frozen or check.ignored or check.untested)
    assert inner.parameters == ["weight", "bias"] and not inner.options
    assert all(own.options.values())


def test_a_norm_whose_output_is_multiplied_by_zero():
    own, inner = checked(build_norm("layernorm", SIZE), gate=0.0)
    assert own.is_called and own.moves_loss is False and own.without_gradient == ["weight", "bias"]
    assert inner.moves_loss and not inner.without_gradient


def test_a_gate_that_is_learned_and_starts_at_zero_is_no_fault():
    own, _ = checked(build_norm("layernorm", SIZE), gate=nn.Parameter(torch.zeros(1)))
    assert own.moves_loss and not own.without_gradient


def test_a_norm_that_is_never_called():
    model = Model(build_norm("dyt", SIZE))
    model.spare = build_norm("dyt", SIZE)
    used, spare = check_norms(model, {"norm": model.norm, "spare": model.spare}, torch.randn(4, SIZE))
    assert used.is_called and not spare.is_called and spare.moves_loss is None
    (only,) = check_norms(model, {"spare": model.spare}, torch.randn(4, SIZE), called={"spare"})
    assert only.is_called  # by the training batch


def test_a_parameter_and_options_that_the_norm_does_not_read():
    own, _ = checked(Useless(SIZE))
    assert own.moves_loss and own.without_gradient == ["unread"]
    assert own.ignored == ["power", "mode"] and own.options["mode"] == ["hard"] and own.options["k"] == [2.0]
    assert all(power < 2 for power in own.options["power"])  # the others are refused


def test_what_is_frozen_and_what_could_not_be_tried(monkeypatch):
    norm = Useless(SIZE)
    norm.unread.requires_grad_(False)
    own, _ = checked(norm)
    assert own.frozen == ["unread"] and not own.parameters and not own.without_gradient
    monkeypatch.setattr(Useless, "check_options", classmethod(lambda cls, **options: None))
    own, _ = checked(Useless(SIZE, mode="?"))
    assert own.untested == ["mode"]


def test_a_loss_that_is_not_finite_says_nothing_of_norms():
    own, _ = checked(build_norm("layernorm", SIZE), batch=torch.full((2, SIZE), torch.inf))
    assert own.moves_loss is None


@pytest.mark.parametrize(
    ("name", "kind", "same"),
    [
        ("layernorm", "layernorm", True),
        ("layernorm", "rmsnorm", False),
        ("rmsnorm", "rmsnorm", True),
        ("zero_centered_rmsnorm", "rmsnorm", True),
        ("detachnorm", "layernorm", False),  # forward it is
        ("layernorm_simple", "layernorm", True),  # in the place of one without gain and bias
    ],
)
def test_a_norm_that_is_the_models_own(name, kind, same):
    model = Model(build_norm(name, SIZE))
    (own,) = check_norms(model, {"norm": model.norm}, torch.randn(4, SIZE), old_kinds={"norm": kind})
    assert own.is_models_own is same
