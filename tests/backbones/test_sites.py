"""Recognition: every norm of 17 families, and none of what only looks or sounds like one."""

import pytest
import torch
from torch import nn
from transformers import RobertaPreLayerNormModel
from transformers.models.convnext.modeling_convnext import ConvNextLayerNorm
from transformers.models.deberta.modeling_deberta import DebertaLayerNorm
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mamba2.modeling_mamba2 import MambaRMSNormGated
from transformers.models.mobilebert.modeling_mobilebert import NoNorm
from transformers.models.nanochat.modeling_nanochat import NanoChatRMSNorm
from transformers.models.nemotron.modeling_nemotron import NemotronLayerNorm1P
from transformers.models.olmo.modeling_olmo import OlmoLayerNorm
from transformers.models.squeezebert.modeling_squeezebert import SqueezeBertLayerNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm
from transformers.models.vitdet.modeling_vitdet import VitDetLayerNorm

from app.backbones import is_norm, left_norms, norm_sites
from app.backbones.sites import name_paths
from app.errors import InputError
from app.norms import build_norm, norm_names
from tests.backbones.families import FAMILIES, NORMS, tiny

KNOWN_CLASSES = (nn.LayerNorm, DebertaLayerNorm, T5LayerNorm, LlamaRMSNorm)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_norm_of_a_family_is_found_once(family):
    model = tiny(family)
    sites = norm_sites(model)
    assert len(sites) == NORMS[family]
    assert {s.path for s in sites} == {p for p, m in model.named_modules() if isinstance(m, KNOWN_CLASSES)}
    assert all(s.module is model.get_submodule(s.path) for s in sites)
    assert {s.kind for s in sites} == {"rmsnorm" if family in ("t5", "llama") else "layernorm"}


def _randomized(norm: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    for parameter in norm.parameters():
        nn.init.normal_(parameter, mean=0.7, generator=generator)
    return norm


@pytest.mark.parametrize(
    ("norm", "kind", "offset"),
    [
        (nn.LayerNorm(8, eps=1e-6), "layernorm", 0),
        (nn.LayerNorm(8, bias=False), "layernorm", 0),
        (nn.LayerNorm((3, 4, 4)), "layernorm", 0),
        (nn.LayerNorm(8, elementwise_affine=False), "layernorm", 0),
        (nn.RMSNorm(8), "rmsnorm", 0),
        (DebertaLayerNorm(8), "layernorm", 0),
        (T5LayerNorm(8), "rmsnorm", 0),
        (LlamaRMSNorm(8).to(torch.bfloat16), "rmsnorm", 0),
        (GemmaRMSNorm(8), "rmsnorm", 1),
        (NemotronLayerNorm1P(8), "layernorm", 1),
        (ConvNextLayerNorm(8, data_format="channels_last"), "layernorm", 0),
        (ConvNextLayerNorm(8, data_format="channels_first"), "layernorm", 0),
        (SqueezeBertLayerNorm(8), "layernorm", 0),
        (VitDetLayerNorm(8), "layernorm", 0),
        (OlmoLayerNorm(8), "layernorm", 0),
        (nn.RMSNorm(8, elementwise_affine=False), "rmsnorm", 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_kinds_are_told_by_what_they_compute(norm, kind, offset):
    eps = 1e-5 if isinstance(norm, OlmoLayerNorm) else torch.finfo(torch.float32).eps  # that of nn.RMSNorm
    eps = getattr(norm, "eps", None) or getattr(norm, "variance_epsilon", eps)
    (site,) = norm_sites(nn.Sequential(_randomized(norm)))
    assert (site.kind, site.gain_offset, site.eps) == (kind, offset, eps)
    assert site.shape == tuple(getattr(norm, "normalized_shape", (8,)))


class Scaled(nn.Module):
    """Has the attributes of a norm, and normalizes nothing."""

    eps = 1e-5

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, x):
        return x * self.weight


@pytest.mark.parametrize(
    "module",
    [
        nn.GroupNorm(1, 8),
        nn.BatchNorm1d(8),
        nn.BatchNorm1d(8, track_running_stats=False),
        nn.InstanceNorm1d(8, affine=True),
        nn.LocalResponseNorm(2),
        nn.Linear(8, 8),
        nn.Identity(),
        Scaled(),
        MambaRMSNormGated(8, group_size=8),
        nn.TransformerEncoderLayer(8, 2, 8),
    ],
    ids=lambda module: type(module).__name__,
)
def test_false_friends_are_no_norms(module):
    assert not is_norm(module)
    inside = [type(site.module) for site in norm_sites(nn.Sequential(module))]
    assert inside == [nn.LayerNorm] * 2 * isinstance(module, nn.TransformerEncoderLayer)


def test_a_model_with_norm_in_its_name_is_no_norm():
    model = tiny("roberta-prelayernorm")
    assert isinstance(model, RobertaPreLayerNormModel) and not is_norm(model)
    assert all(next(site.module.children(), None) is None for site in norm_sites(model))


@pytest.mark.parametrize("name", norm_names())
def test_norms_of_the_registry_are_norms(name):
    (site,) = norm_sites(nn.Sequential(build_norm(name, (2, 4), eps=1e-3)))
    assert (site.kind, site.shape, site.eps) == ("app.norms", (2, 4), 1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_known_family_has_nothing_but_sites(family):
    assert left_norms(tiny(family)) == []


def test_what_is_called_a_norm_and_is_no_site_is_named_with_the_reason():
    gated, normalize = MambaRMSNormGated(4, group_size=2), type("Normalize", (nn.Identity,), {})()
    model = nn.Sequential(nn.LayerNorm(4), NanoChatRMSNorm(), gated, NoNorm(4), nn.BatchNorm1d(4), normalize)
    model.append(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    assert [(norm.path, norm.class_name, norm.reason.split()[0]) for norm in left_norms(model)] == [
        ("1", "NanoChatRMSNorm", "does"),
        ("2", "MambaRMSNormGated", "takes"),
        ("3", "NoNorm", "does"),
        ("4", "BatchNorm1d", "normalizes"),
    ]


def test_a_shared_instance_is_one_site_with_aliases():
    norm = nn.LayerNorm(4)
    model = nn.ModuleDict({"a": norm, "b": nn.Sequential(norm, nn.LayerNorm(4))})
    assert [site.paths for site in norm_sites(model)] == [("a", "b.0"), ("b.1",)]


def test_probing_leaves_random_state_and_gradients_alone():
    norm = T5LayerNorm(8)
    before = torch.get_rng_state()
    assert is_norm(norm) and norm.weight.grad is None
    assert torch.equal(torch.get_rng_state(), before)


def test_a_norm_without_values_is_refused():
    with torch.device("meta"):
        norm = T5LayerNorm(8)
    with pytest.raises(InputError, match="meta device"):
        is_norm(norm)


def test_many_paths_are_shortened_in_the_middle():
    assert name_paths("abcdef") == "a, b, c, d, e, f"
    assert name_paths("abcdefgh") == "a, b, c, ... 2 more ..., f, g, h"
    assert name_paths([]) == "none"
