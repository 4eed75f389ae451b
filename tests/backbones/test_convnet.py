"""Our convnet: the paper's three layers, a Hugging Face model like the others."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from app.backbones import BackboneConfig, build_model, inject_norms, load_model, norm_sites, save_model
from app.backbones.convnet import ConvNet
from app.errors import InputError
from app.norms import NormSpec, norm_names

PATHS = ["layers.0.layernorm", "layers.1.layernorm", "layers.2.layernorm"]
IMAGES = torch.linspace(-1, 1, 3 * 28 * 28).sin().reshape(3, 1, 28, 28)


def _convnet(norm=None, **options):
    torch.manual_seed(0)
    return build_model(BackboneConfig("convnet", options), norm and NormSpec.parse(norm))


def test_three_layers_each_with_a_norm_over_the_whole_map_before_its_activation():
    model = _convnet().model
    assert isinstance(model, ConvNet) and model.training
    assert [(s.path, s.shape) for s in norm_sites(model)] == [
        (PATHS[0], (16, 14, 14)),
        (PATHS[1], (32, 7, 7)),
        (PATHS[2], (64, 3, 3)),
    ]
    x = IMAGES  # (B, C, H, W)
    for layer in model.layers:
        x = F.max_pool2d(F.conv2d(x, layer.convolution.weight, layer.convolution.bias, padding=2), 2)
        spread = torch.sqrt(x.var((1, 2, 3), unbiased=False, keepdim=True) + 1e-5)
        x = torch.relu((x - x.mean((1, 2, 3), keepdim=True)) / spread)  # gain 1, bias 0
    output = model(pixel_values=IMAGES).last_hidden_state
    assert output.shape == (3, 1, model.config.hidden_size) == (3, 1, 64 * 3 * 3)
    torch.testing.assert_close(output.flatten(1), x.flatten(1))


@pytest.mark.parametrize("name", norm_names())
def test_it_trains_with_every_norm(name):
    plain, built = _convnet().model, _convnet(name)
    assert [record.path for record in built.sites] == PATHS and built.norms_total == 3
    for a, b in zip(plain.layers, built.model.layers, strict=True):
        assert torch.equal(a.convolution.weight, b.convolution.weight)
    before = [layer.convolution.weight.detach().clone() for layer in built.model.layers]
    head = nn.Linear(built.model.config.hidden_size, 2)
    optimizer = torch.optim.SGD([*built.model.parameters(), *head.parameters()], lr=0.01)
    loss = F.cross_entropy(head(built.model(IMAGES).last_hidden_state.mean(1)), torch.tensor([0, 1, 0]))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in built.model.parameters())
    optimizer.step()
    assert not any(torch.equal(a, b.convolution.weight) for a, b in zip(before, built.model.layers, strict=True))


def test_size_and_channels_follow_the_data():
    backbone = BackboneConfig("convnet", {"channels": [4, 6], "kernel_size": 3})
    data_options = {"image_size": [17, 9], "num_channels": 3, "vocab_size": 60}
    model = build_model(backbone, data_options=data_options).model
    assert model(pixel_values=torch.zeros(2, 3, 17, 9)).last_hidden_state.shape == (2, 1, 6 * 4 * 2)
    assert model.config.hidden_size == 6 * 4 * 2


def test_convolutions_start_at_the_scale_that_keeps_the_variance():
    weight = _convnet(channels=[64, 64, 64]).model.layers[1].convolution.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 25)) ** 0.5, rel=0.02)  # He et al. 2015, equation 10


def test_it_has_no_final_norm():
    with pytest.raises(InputError, match="'final' matches no norm of ConvNet"):
        inject_norms(_convnet().model, "layernorm_simple", sites="final")


@pytest.mark.parametrize("norm", [None, "layernorm"])
def test_it_comes_back_from_a_folder(norm, tmp_path):
    model = _convnet(norm, channels=[4, 4, 4]).model.eval()
    loaded = load_model(save_model(model, tmp_path / "saved"))
    assert type(loaded) is ConvNet and not loaded.training
    assert torch.equal(loaded(IMAGES).last_hidden_state, model(IMAGES).last_hidden_state)
    assert repr(loaded) == repr(model)


def test_a_pretrained_convnet_can_be_built_on(tmp_path):
    model = _convnet().model
    save_model(model, tmp_path / "saved")
    built = build_model(BackboneConfig(pretrained=str(tmp_path / "saved")), NormSpec.parse("layernorm"))
    assert [record.path for record in built.sites] == PATHS
    assert torch.equal(built.model.layers[0].convolution.weight, model.layers[0].convolution.weight)
