"""Our MLP: the paper's three layers, a Hugging Face model like the others."""

import pytest
import torch
import torch.nn.functional as F

from app.backbones import BackboneConfig, build_model, inject_norms, load_model, norm_sites, save_model
from app.backbones.mlp import MLP
from app.errors import InputError
from app.norms import NormSpec, norm_names

PATHS = ["layers.0.layernorm", "layers.1.layernorm", "layers.2.layernorm"]
STATES = torch.linspace(-1, 1, 5 * 12).sin().reshape(5, 12)


def _mlp(norm=None, **options):
    torch.manual_seed(0)
    return build_model(
        BackboneConfig("mlp", {"input_size": 12, "hidden_size": 8, **options}), norm and NormSpec.parse(norm)
    )


def test_three_layers_each_with_a_norm_before_its_activation():
    model = _mlp().model.eval()
    assert isinstance(model, MLP)
    assert [(site.path, site.shape) for site in norm_sites(model)] == [(path, (8,)) for path in PATHS]
    x = STATES
    for layer in model.layers:
        x = x @ layer.linear.weight.T + layer.linear.bias  # (N, H)
        x = torch.relu((x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, unbiased=False, keepdim=True) + 1e-5))
    torch.testing.assert_close(model(inputs_embeds=STATES).last_hidden_state, x)


def test_dropout_comes_last():
    model = _mlp(hidden_dropout_prob=0.5).model.train()
    torch.manual_seed(1)
    dropped = model.layers[0](STATES)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], 2 * model.eval().layers[0](STATES)[kept])


@pytest.mark.parametrize("name", norm_names())
def test_it_trains_with_every_norm(name):
    plain, built = _mlp().model, _mlp(name)
    assert [record.path for record in built.sites] == PATHS and built.norms_total == 3
    for a, b in zip(plain.layers, built.model.layers, strict=True):
        assert torch.equal(a.linear.weight, b.linear.weight)
    F.cross_entropy(built.model(STATES).last_hidden_state, torch.tensor([0, 1, 0, 2, 3])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in built.model.parameters())


def test_weights_start_at_the_scale_that_keeps_the_variance():
    weight = _mlp(input_size=500, hidden_size=400).model.layers[0].linear.weight
    assert weight.std().item() == pytest.approx((2 / 500) ** 0.5, rel=0.02)  # He et al. 2015, equation 10


def test_it_has_no_final_norm():
    with pytest.raises(InputError, match="'final' matches no norm of MLP"):
        inject_norms(_mlp().model, "layernorm_simple", sites="final")


@pytest.mark.parametrize("norm", [None, "adanorm"])
def test_it_comes_back_from_a_folder(norm, tmp_path):
    model = _mlp(norm).model.eval()
    loaded = load_model(save_model(model, tmp_path / "saved"))
    assert type(loaded) is MLP and repr(loaded) == repr(model)
    assert torch.equal(loaded(STATES).last_hidden_state, model(STATES).last_hidden_state)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden_size": 0}, "hidden_size is 0; must be >= 1"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be >= 1"),
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob must be >= 0 and < 1, got 1.0"),
        ({"hiden_size": 8}, "did you mean 'hidden_size'"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        _mlp(**options)
