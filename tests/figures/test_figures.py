"""Figures: what they show, and that there is none where there is nothing to draw."""

import pytest

from app.figures import curve_bands, draw_curves, draw_norm_gradients, draw_norm_parameters, save
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
    draw_curves([validated(1), validated(2)], [LOSS], "the title", path, twin_axes, best_step=10)
    if suffix == "svg":
        text = words(path)
        assert all(word in text for word in ("the title", "epoch", "train", "valid", "best epoch (1)", "loss (nats)"))
        assert text.count("<!-- gap of the loss: valid minus train -->") == 1
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_curves_of_several_norms_are_told_apart_by_name_and_colour(tmp_path):
    runs = {name: [[validated(1), validated(2)]] * 2 for name in ("layernorm", "adanorm")}
    save(curve_bands(runs, [LOSS], "both"), tmp_path / "curves.svg")
    text = words(tmp_path / "curves.svg")
    for word in ("layernorm, train", "layernorm, valid", "adanorm, train", "adanorm, valid", "#0072b2", "#d55e00"):
        assert word in text


def test_validations_within_an_epoch_are_drawn_by_step(tmp_path):
    events = [validated(1, 5), validated(1, 9)]
    draw_curves(events, [LOSS], "t", tmp_path / "run.svg")
    save(curve_bands({"a": [events]}, [LOSS], "t"), tmp_path / "study.svg")
    for name in ("run", "study"):
        assert "<!-- step -->" in words(tmp_path / f"{name}.svg")


def test_a_band_is_mean_and_deviation_over_seeds():
    runs = [[{"step": 10, "epoch": 1, "val/loss": loss}] for loss in (1.0, 3.0)]
    _, right = curve_bands({"a": runs}, [LOSS], "t", twin_axes=True).axes
    assert right.lines[0].get_ydata().tolist() == [2.0]
    band = right.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(2 - 2**0.5) and band.max() == pytest.approx(2 + 2**0.5)


def test_train_and_validation_have_one_scale_and_the_gap_a_panel():
    curves, gap = curve_bands({"a": [[validated(1), validated(2)]]}, [LOSS], "t").axes
    assert [line.get_ydata().tolist() for line in curves.lines] == [[0.5, 0.25], [1.0, 0.5]]
    assert gap.lines[-1].get_ydata().tolist() == [0.5, 0.25]


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
