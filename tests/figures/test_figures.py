"""Figures: what they show, and that there is none where there is nothing to draw."""

import pytest

from app.figures import (
    Curve,
    ForestRow,
    Sensitivity,
    curve_bands,
    dots_by_site,
    draw_curves,
    draw_norm_gradients,
    draw_norm_parameters,
    forest,
    inline_svg,
    save,
    sensitivity,
)
from app.figures.dots import is_nothing
from app.figures.drawing import by_site, new_figure, short_names, some_steps
from app.metrics import LOSS

SITES = ["layer.0.norm", "layer.1.norm"]


def measured(step):
    return {"step": step, "epoch": 1} | {
        f"norm_grad/{name}/{site}": 0.1 * step
        for name in ("recentring", "rescaling", "sigma", "tokens")
        for site in SITES
    }


def validated(epoch, step=None):
    losses = {"val/loss": 1 / epoch, "train_probe/loss": 0.5 / epoch, "gap/loss": 0.5 / epoch}
    return {"epoch": epoch, "step": step or 10 * epoch, **losses}


def words(path):
    """The text of an svg: matplotlib draws letters as glyphs, each text after a comment with its words."""
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
@pytest.mark.parametrize("twin_axes", [False, True])
def test_curves_of_one_run(tmp_path, twin_axes, suffix):
    path = tmp_path / f"curves.{suffix}"
    draw_curves([validated(1), validated(2)], [LOSS], "the title", path, twin_axes, best_step=10, onset_step=20)
    if suffix == "svg":
        text = words(path)
        assert all(word in text for word in ("the title", "epoch", "train", "valid", "best epoch (1)", "loss (nats)"))
        assert text.count("<!-- gap of the loss: valid minus train -->") == 1
        assert text.count("<!-- overfitting since epoch 2 -->") == 1
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_curves_of_several_norms_are_told_apart_by_name_and_colour(tmp_path):
    runs = {name: [Curve(name, [validated(1), validated(2)])] * 2 for name in ("layernorm", "adanorm")}
    save(curve_bands(runs, [LOSS], "both"), tmp_path / "curves.svg")
    text = words(tmp_path / "curves.svg")
    for word in ("<!-- layernorm -->", "<!-- adanorm -->", "<!-- train -->", "<!-- valid -->", "#0072b2", "#d55e00"):
        assert word in text


def test_validations_within_an_epoch_are_drawn_by_step(tmp_path):
    events = [validated(1, 5), validated(1, 9)]
    draw_curves(events, [LOSS], "t", tmp_path / "run.svg")
    save(curve_bands({"a": [Curve("a", events)]}, [LOSS], "t"), tmp_path / "study.svg")
    for name in ("run", "study"):
        assert "<!-- step -->" in words(tmp_path / f"{name}.svg")


def test_a_band_is_mean_and_deviation_over_seeds():
    runs = [Curve(str(loss), [{"step": 10, "epoch": 1, "val/loss": loss}]) for loss in (1.0, 3.0)]
    _, right = curve_bands({"a": runs}, [LOSS], "t", twin_axes=True).axes
    assert right.lines[0].get_ydata().tolist() == [2.0]
    band = right.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(2 - 2**0.5) and band.max() == pytest.approx(2 + 2**0.5)


def test_train_and_validation_have_one_scale_and_the_gap_a_panel():
    curves, gap = curve_bands({"a": [Curve("a", [validated(1), validated(2)])]}, [LOSS], "t").axes
    assert [line.get_ydata().tolist() for line in curves.lines] == [[0.5, 0.25], [1.0, 0.5]]
    assert gap.lines[-1].get_ydata().tolist() == [0.5, 0.25]


def test_runs_that_diverged_are_drawn_singly_and_are_in_no_mean():
    steady = [Curve(f"seed {n}", [validated(1), validated(2), validated(3)]) for n in (1, 2)]
    dead = Curve(
        "seed 3", [{"epoch": 1, "step": 10, "val/loss": 9.0}, {"epoch": 2, "step": 20, "val/loss": 99.0}], True
    )
    figure = curve_bands({"a": [*steady, dead]}, [LOSS], "t")
    lines = [line.get_ydata().tolist() for line in figure.axes[0].lines]
    assert [1.0, 0.5, pytest.approx(1 / 3)] in lines and [9.0, 99.0] in lines and [99.0] in lines  # the last: a cross
    assert "seed 3: diverged after epoch 2" in inline_svg(figure, "curves", "what is shown")


def test_a_mean_ends_where_the_first_of_its_runs_does():
    runs = [Curve("1", [validated(1), validated(2)]), Curve("2", [validated(1)])]
    figure = curve_bands({"a": runs}, [LOSS], "t")
    assert [line.get_ydata().tolist() for line in figure.axes[0].lines] == [[0.5], [1.0]]


@pytest.mark.parametrize("narrow", [False, True])
def test_a_forest_row_has_its_seeds_its_intervals_and_its_verdict(narrow):
    seen = ForestRow("rt", ("adanorm", 1), "adanorm", "better: +1.0", 1.0, (0.5, 1.5), (0.2, 1.8), {"seed 1": 0.9})
    dead = ForestRow("rt", ("none", 2), "none", "worse, 1 of 1 diverged", failed={"seed 1": "diverged"}, decides=False)
    figure = forest([seen, dead], "accuracy (points)", True, 0.5, narrow)
    (axes,) = figure.axes
    drawn = [line.get_xdata().tolist() for line in axes.lines if hasattr(line.get_xdata(), "tolist")]
    assert all(values in drawn for values in ([0.9], [0.5, 1.5], [0.2, 1.8], [1.0]))
    assert "← worse" in axes.get_xlabel() and "better →" in axes.get_xlabel()
    svg = inline_svg(figure, "forest", "what is shown")
    for words in ("adanorm: better: +1.0", "seed 1: +0.9", "seed 1: diverged"):
        assert f'data-name="{words}"' in svg
    assert 'data-series="none"' in svg and "worse, 1 of 1 diverged" in svg and "<style" not in svg


def test_sites_are_on_a_logarithmic_scale_without_what_is_rounding():
    values = {"1 minus re-scaling": {"adanorm": {"seed 1": [0.02, 1e-9, -0.1]}}}
    figure = dots_by_site(values, ["0", "1", "2"], "t")
    filled, hollow = figure.axes[0].lines
    assert figure.axes[0].get_xscale() == "log"
    assert (filled.get_xdata().tolist(), hollow.get_xdata().tolist()) == ([0.02], [0.1])
    assert is_nothing({"adanorm": {"seed 1": 1e-8}}) and not is_nothing({"adanorm": {"seed 1": 0.1}})


def test_the_sensitivity_shows_what_was_tried_chosen_and_lost():
    tried = {1e-3: {"seed 1": 75.0}, 1e-2: {"seed 1": None}}
    norms = {"adanorm": Sensitivity(tried, 1e-3, (5e-4, 2e-3), [(1, 70.0, 60.0, 75.0), (2, 74.0, 70.0, 75.0)])}
    svg = inline_svg(sensitivity(norms, "lr", "valid accuracy", "t"), "tuning", "what is shown")
    for words in (
        "seed 1: 75",
        "seed 1: diverged",
        "adanorm: 0.001 was chosen",
        "from 0.0005 to 0.002",
        "values tried",
    ):
        assert words in svg


def test_a_run_without_validations_has_empty_curves(tmp_path):
    draw_curves([], [LOSS], "t", tmp_path / "curves.svg")
    assert "<!-- train -->" not in words(tmp_path / "curves.svg")


def test_the_signature_of_several_rules_is_a_title_of_several_lines():
    signature = "layernorm(weight_decay=0.1)@final+" * 6
    figure, _ = new_figure(2, signature)
    lines = figure.get_suptitle().splitlines()
    assert "".join(lines) == signature and 1 < len(lines) and max(map(len, lines)) < 100


def test_norm_gradients_by_depth_and_step(tmp_path):
    path = tmp_path / "norm_gradients.svg"
    assert draw_norm_gradients([measured(1), measured(50)], SITES, "the title", path)
    assert all(word in words(path) for word in ("re-centring", "re-scaling", "step 1", "step 50", "the title"))


def test_many_norms_go_by_number(tmp_path):
    sites = [f"layer.{number}.norm" for number in range(40)]
    event = {"step": 1, "epoch": 1} | {f"norm_grad/recentring/{site}": 0.1 for site in sites}
    assert draw_norm_gradients([event], sites, "t", tmp_path / "a.svg")
    assert "norm_sites.csv" in words(tmp_path / "a.svg")


def test_norm_parameters_of_gains_and_of_adanorm(tmp_path):
    gains = {"step": 1, "epoch": 1, "norm_param/gain_update_share": 0.1}
    gains |= {f"norm_param/gain_distance/{site}": 0.1 for site in SITES}
    assert draw_norm_parameters([gains], SITES, "t", tmp_path / "gains.svg")
    assert "rms distance from 1" in words(tmp_path / "gains.svg") and "gains" in words(tmp_path / "gains.svg")
    names = ("ky_q01", "ky_q25", "ky_q50", "ky_q75", "ky_q99", "ky_beyond_share")
    factor = {"step": 1, "epoch": 1} | {f"norm_param/{name}/{site}": 0.1 for name in names for site in SITES}
    assert draw_norm_parameters([factor], SITES, "t", tmp_path / "factor.svg")
    assert "1 - k y" in words(tmp_path / "factor.svg")


def test_without_measurements_there_is_no_figure(tmp_path):
    assert not draw_norm_gradients([validated(1)], SITES, "t", tmp_path / "a.svg")
    assert not draw_norm_parameters([measured(1)], SITES, "t", tmp_path / "a.svg")
    assert not list(tmp_path.iterdir())


def test_steps_are_chosen_from_first_to_last():
    assert some_steps([1, 2, 3]) == [1, 2, 3]
    chosen = some_steps(list(range(0, 1000, 10)))
    assert chosen[0] == 0 and chosen[-1] == 990 and len(chosen) == 6 and chosen == sorted(chosen)


def test_names_lose_what_they_share():
    assert short_names(["encoder.0.norm", "encoder.1.norm"]) == ["0", "1"]
    assert short_names(["norm", "layer.norm"]) == ["norm", "layer.norm"]
    assert short_names(["a.b"]) == ["a.b"]


def test_values_by_site_have_holes():
    events = [{"step": 3, "x/a": 1.0}, {"step": 4}, {"step": 5, "x/b": 2.0}]
    found = by_site(events, "x", ["a", "b"])
    assert list(found) == [3, 5] and found[3][0] == 1.0 and found[3][1] != found[3][1]
