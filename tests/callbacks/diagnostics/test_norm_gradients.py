"""Real small runs: what is measured, when, at which size, and that it changes nothing."""

from types import SimpleNamespace

import pytest
import torch

from app.callbacks.diagnostics.norm_gradients import gradient_scale, gradient_summary
from app.norms import norm_class, norm_names
from app.runs.metrics_file import read_events
from tests.conftest import mostly_slow, only_run, read_result
from tests.exactness.cases import CASES

DRAWN = ("adanorm", "layernorm", "none")  # one with statistics of its own, one with parameters, one with neither


@pytest.fixture
def fit(train, sources, tmp_path):
    def run(*arguments, task="classification", root="runs"):
        case = CASES[task]
        settings = [*case.arguments(sources[case.data]), "--trainer.max_epochs=1", "--test_after_fit=false"]
        assert train("fit", case.config, *settings, f"--run_root={tmp_path / root}", *arguments) == 0
        return only_run(tmp_path / root)

    return run


@pytest.mark.parametrize("norm", mostly_slow(norm_names(), "adanorm", "layernorm"))
def test_a_run_measures_each_site_and_agrees_with_the_theorem(fit, norm):
    is_drawn = norm in DRAWN
    run = fit(f"--norm={norm}", "--norm_diagnostics_every_n_steps=2", f"--plots={is_drawn}")
    events = [event for event in read_events(run) if any(key.startswith("norm_grad/") for key in event)]
    assert [event["step"] for event in events] == [1, 2, 4]
    sites = [line.split(",")[0] for line in (run / "norm_sites.csv").read_text().splitlines()[1:]]
    for event in events:
        assert all(event[f"norm_grad/tokens/{site}"] > 50 and event[f"norm_grad/sigma/{site}"] > 0 for site in sites)
    summary = read_result(run)["norm_gradients"]
    assert summary == gradient_summary(read_events(run), sites) and summary["step"] == 4
    cls = norm_class(norm)
    assert ("mean_violation" in summary) == (cls.detaches_mean is not None)
    if cls.detaches_mean is not None:
        assert summary["mean_violation"]["largest"] < 1e-5 and summary["variance_violation"]["largest"] < 1e-5
        assert summary["recentring"] > 0.01 if cls.detaches_mean else summary["recentring"] < 1e-5
        assert summary["rescaling"] <= 1 + 1e-5
    if is_drawn:
        pictures = {path.name for path in run.glob("*.svg")}
        assert pictures == {"curves.svg", "norm_gradients.svg"} | ({"norm_parameters.svg"} if norm != "none" else set())


def test_off_measures_nothing_and_no_weight_differs(fit):
    runs = [fit(f"--norm_diagnostics_every_n_steps={every}", root=every) for every in ("null", "2")]
    states = [torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in runs]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    keys = [{key.split("/")[0] for event in read_events(run) for key in event} for run in runs]
    assert keys[1] - keys[0] == {"norm_grad", "norm_param"}
    assert read_result(runs[0])["norm_gradients"] == {} and not (runs[0] / "norm_gradients.svg").exists()


@pytest.mark.parametrize("task", mostly_slow(CASES, "classification"))
def test_accumulated_batches_are_measured_together(fit, task):
    """In the second epoch: at first, biaffine attention is zero and its encoder has no gradient."""
    settings = ["--norm_diagnostics_every_n_steps=1", "--trainer.max_epochs=2"]
    alone = fit(*settings, task=task, root="alone")
    both = fit(*settings, "--trainer.accumulate_grad_batches=2", task=task)

    def tokens(run):
        events = [event for event in read_events(run) if event["epoch"] == 2]
        measured = [[v for key, v in event.items() if key.startswith("norm_grad/tokens/")] for event in events]
        return [sum(column) for column in zip(*filter(None, measured), strict=True)], len(measured)

    (batches, updates), (accumulated, fewer) = tokens(alone), tokens(both)
    assert batches == accumulated and min(batches) > 0 and fewer < updates


def test_autocast_is_measured_too(fit):
    run = fit("--norm=detachnorm", "--trainer.precision=bf16-mixed", "--norm_diagnostics_every_n_steps=3")
    assert read_result(run)["norm_gradients"]["rescaling"] == pytest.approx(1, abs=0.02)


def test_the_scale_of_mixed_precision_and_of_processes_is_taken_out():
    scaler = SimpleNamespace(get_scale=lambda: 1024.0)
    assert gradient_scale(SimpleNamespace(world_size=2, precision_plugin=SimpleNamespace(scaler=scaler))) == 2048
    assert gradient_scale(SimpleNamespace(world_size=3, precision_plugin=SimpleNamespace())) == 3


@pytest.mark.parametrize("every", ["0", "-1"])
def test_a_wrong_interval_is_answered(train, every, capsys, tiny_texts):
    assert train("fit", CASES["classification"].config, f"--norm_diagnostics_every_n_steps={every}") == 2
    assert f"norm_diagnostics_every_n_steps is {every}; must be >= 1" in capsys.readouterr().err
