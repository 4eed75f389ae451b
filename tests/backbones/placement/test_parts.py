"""Where a placement puts norms is found again, by another look, on every family; what cannot be exact is refused."""

import copy
import io
import math
import pickle

import pytest
import torch

from app.backbones import BackboneConfig, build_model, inject_norms, norm_contexts, norm_sites
from app.backbones.placement import PlacementSpec, place_norms, placement_names
from app.backbones.placement.parts import positions_in
from app.backbones.trace import Blocks, Trace
from app.errors import InputError
from app.norms import NormError
from tests.backbones.families import DATA_OPTIONS, OPTIONS, OTHER_OPTIONS, backward, outputs, tiny
from tests.backbones.placement.table import PLACEMENTS, lines, row
from tests.conftest import ROOT
from tests.tiny_models import tiny_model

PLACED = {
    "pre": {"pre"}, "post": {"post"}, "output": {"out"}, "peri": {"pre", "out"}, "scaled": {"pre"},
    "keel": {"pre", "post"}, "deepnorm": {"post"}, "layerscale": {"pre"},
}  # fmt: skip
FUSED = {"deepnorm"}  # needs projections of queries, keys and values that are three modules
AFTER_SUM = {"post", "keel", "deepnorm"}  # out of reach where dropout follows the branch outside of modules
REFUSED = {
    "albert": PLACED.keys(),  # its layers are one module
    "deberta": FUSED, "modernbert": FUSED, "gpt2": FUSED, "qwen3": FUSED, "gemma3_text": FUSED, "olmo2": FUSED,
    "swin": FUSED, "bitnet": FUSED,
    "opt": AFTER_SUM, "mbart": AFTER_SUM,
    "xlnet": PLACED.keys() - {"post"},  # its attention is not a module of its own
    "phi": PLACED.keys() - {"pre", "scaled"}, "gpt_neox": PLACED.keys() - {"pre", "scaled"},  # parallel branches
}  # fmt: skip


@pytest.mark.parametrize("family", [*OPTIONS, *OTHER_OPTIONS])
def test_norms_stand_where_the_placement_says_or_it_is_refused(family):
    for placement, expected in PLACED.items():
        model = tiny(family)
        before = [type(module) for module in model.modules()]
        if placement in REFUSED.get(family, set()):
            with pytest.raises(InputError, match=f"--placement {placement}: the .* branch of .*(use|set)"):
                place_norms(model, placement)
            assert [type(module) for module in model.modules()] == before, "unchanged"
            continue
        place_norms(model, placement)
        sites = norm_sites(model)
        trace = Trace(model, sites, Blocks(model, sites))
        contexts = norm_contexts(model, sites).by_path
        for frame in trace.frames.values():
            found = positions_in(frame)
            ends = {site for site in found if contexts[site.path].role == "final"}
            kinds = {position for site, position in found.items() if site not in ends} - {"qk", "inner"}
            assert kinds == expected, (placement, frame.block, {s.path: p for s, p in found.items()})
        finals = [path for path, context in contexts.items() if context.role == "final"]
        assert bool(finals) == (expected & {"post"} == set()), (placement, finals)


@pytest.mark.parametrize(("family", "placement"), [("bert", "peri"), ("llama", "qk"), ("t5", "post"), ("bert", "keel")])
def test_new_norms_are_ordinary_sites_of_a_model_that_can_be_copied(family, placement):
    model = tiny(family).eval()
    state = torch.get_rng_state()
    place_norms(model, placement)
    assert torch.equal(torch.get_rng_state(), state)
    records = inject_norms(model, "adanorm")
    assert len(records) == len(norm_sites(model))
    expected = outputs(model, family)[0]
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(outputs(other, family)[0], expected)
        with torch.no_grad():
            next(other.parameters()).mul_(1.5)
        assert not torch.equal(outputs(other, family)[0], expected)
        assert torch.equal(outputs(model, family)[0], expected), "the copy's hooks do not reach the model"
    stream = io.BytesIO()
    torch.save(model.state_dict(), stream)
    compiled = torch.compile(copy.deepcopy(model), backend="eager")
    assert torch.allclose(outputs(compiled, family)[0], expected, atol=1e-6)
    backward(model, family)
    dead = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.count_nonzero())]
    assert not [name for name in dead if "norm" in name], dead


def test_the_table_of_the_page_is_what_the_families_take():
    page = (ROOT / "docs/placement.md").read_text(encoding="utf-8")
    cells_of = {family: row(family) for family in [*OPTIONS, *OTHER_OPTIONS]}
    assert "\n".join(lines(cells_of)) in page
    for family, cells in cells_of.items():
        refused = {name for name, cell in zip(PLACEMENTS, cells, strict=True) if cell not in ("native", "yes")}
        assert refused & PLACED.keys() == set(REFUSED.get(family, ()))


def test_half_precision_streams_are_refused_where_rounding_would_change_the_sum():
    model = tiny("gpt2").to(torch.bfloat16)
    place_norms(model, "post")
    with pytest.raises(InputError, match="the residual stream is torch.bfloat16"):
        outputs(model, "gpt2")


def test_a_spec_is_checked_and_makes_the_round_trip():
    spec = PlacementSpec.parse({"name": "mix", "options": {"post_layers": "2"}})
    assert spec.signature == "mix(post_layers=2)" and PlacementSpec.parse(spec.to_dict()) == spec
    assert PlacementSpec.parse("native").is_native and placement_names()[0] == "native"
    for value, message in (
        ("perri", "unknown placement 'perri'; did you mean 'peri'\\? allowed: native, b2t"),
        ({"name": "mix", "options": {"layers": 1}}, "placement 'mix' has no option 'layers'"),
        ({"name": "keel", "options": {"alpha": "much"}}, "alpha is 'much'; must be of type float or auto"),
        ({"name": "keel", "options": {"alpha": math.nan}}, "placement 'keel': alpha is nan; must be finite"),
        ({"name": "layerscale", "options": {"init": math.inf}}, "init is inf; must be finite"),
        ({"name": "keel", "options": {"alpha": 0}}, "alpha is 0; must be > 0 or auto"),
        ({"name": "deepnorm", "options": {"beta": -0.5}}, "beta is -0.5; must be > 0 or auto"),
        ({"name": "mix", "options": {"post_layers": -1}}, "post_layers is -1; must be >= 0"),
        ({"name": "qk", "options": {"over": "none"}}, "over is 'none'; allowed: head, width"),
        (3, "placement is 3; must be a name, or a mapping of name and options"),
    ):
        with pytest.raises(NormError, match=message):
            PlacementSpec.parse(value)
    with pytest.raises(InputError, match="queries_and_keys is 'heads'; allowed: none, head, width"):
        place_norms(tiny("llama"), "peri", queries_and_keys="heads")
    with pytest.raises(InputError, match="post_layers is 3, and the model has 2 blocks; must be <= 2"):
        place_norms(tiny("llama"), "mix", post_layers=3)


def test_a_placed_model_is_not_placed_again():
    model = tiny("bert")
    place_norms(model, "pre")
    with pytest.raises(InputError, match=r"BertModel has placement pre\(queries_and_keys=none\) already"):
        place_norms(model, "peri")


@pytest.mark.parametrize("scale", [1, 20])
def test_queries_and_keys_are_told_from_values_where_heads_share_them(scale):
    options = {**OPTIONS["llama"], "num_attention_heads": 8, "num_key_value_heads": 2}
    model = build_model(BackboneConfig("mistral", options), data_options=DATA_OPTIONS).model
    for name, parameter in model.named_parameters():
        if "proj" in name:
            parameter.data *= scale
    place_norms(model, "qk")
    placed = {path.removesuffix(".output_norm") for path, _ in model.named_modules() if path.endswith("output_norm")}
    assert placed == {f"layers.{i}.self_attn.{name}_proj" for i in range(2) for name in "qk"}


def test_small_initial_weights_are_placed_as_others_whatever_the_seed():
    sites = []
    for scale, seed in ((0.02, 0), (0.001, 0), (0.001, 1), (0.001, 3)):
        torch.manual_seed(seed)
        options = {**OPTIONS["bert"], "initializer_range": scale}
        model = build_model(BackboneConfig("bert", options), placement=PlacementSpec("peri")).model
        sites.append([site.path for site in norm_sites(model)])
    assert all(paths == sites[0] for paths in sites)


def test_stochastic_depth_does_not_decide_what_a_branch_ends_in():
    found = []
    for seed in range(8):
        model = tiny("swin")
        torch.manual_seed(seed)
        place_norms(model, "post")
        found.append([site.path for site in norm_sites(model)])
    assert all(paths == found[0] for paths in found)


def test_each_tower_has_heads_of_its_own_width():
    model = tiny_model("clip", lambda model: True)
    place_norms(model, "qk")
    for tower, config in (
        (model.text_model, model.config.text_config),
        (model.vision_model, model.config.vision_config),
    ):
        shapes = {tuple(m.weight.shape) for path, m in tower.named_modules() if path.endswith("output_norm")}
        assert shapes == {(config.hidden_size // config.num_attention_heads,)}


def test_the_values_of_cross_attention_are_scaled_by_deepnorm():
    model, plain = tiny("t5"), tiny("t5")
    place_norms(model, "deepnorm")
    for stack, beta, branches in (
        ("encoder", 0.87 * (2**4 * 2) ** (-1 / 16), ["0.SelfAttention.{}"]),
        ("decoder", (12 * 2) ** -0.25, ["0.SelfAttention.{}", "1.EncDecAttention.{}"]),
    ):
        for branch in branches:
            for name, factor in (("q", 1), ("k", 1), ("v", beta), ("o", beta)):
                path = f"{stack}.block.1.layer.{branch.format(name)}"
                new, old = model.get_submodule(path).weight, plain.get_submodule(path).weight
                assert torch.allclose(new, old * factor), path


@pytest.mark.parametrize(
    ("model_type", "placement", "message"),
    [
        ("falcon", "peri", "not added to the stream by itself, as where branches are parallel"),  # added in place
        ("mixtral", "deepnorm", "cannot have scaled initial weights"),
        ("funnel", "qk", "blocks.0.0 has no self-attention of its own"),
        ("convnextv2", "pre", "has no norm before or after a branch"),
        ("blip_vision_model", "peri", "not added to the stream by itself, as where .* 0"),  # weights of 1e-10
    ],
)
def test_what_is_not_as_a_placement_needs_it_is_refused(model_type, placement, message):
    with pytest.raises(InputError, match=f"--placement {placement}: .*{message}.*; use --placement native"):
        place_norms(tiny_model(model_type, lambda model: True), placement)


@pytest.mark.parametrize(("family", "placement"), [("llama", "post"), ("olmo2", "pre"), ("bert", "b2t")])
def test_nothing_of_a_forward_pass_is_kept(family, placement):
    model = tiny(family)
    place_norms(model, placement)
    backward(model, family)
    streams = [stream for module in model.modules() for stream in getattr(module, "streams", [])]
    assert streams and all(value is None for stream in streams for value in vars(stream).values())
