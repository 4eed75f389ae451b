"""The clocks of the benchmark: that they time what they say, and that the bare loop trains as fit does."""

import csv
import math
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Callback

import app.benchmark.scaling as scaling
from app.benchmark.__main__ import main
from app.benchmark.bare_loop import bare_loop
from app.benchmark.fit import CONFIGS, FitFigures, figures
from app.benchmark.hf_trainer import REQUIREMENT
from app.benchmark.phases import PhaseProfiler, phase_of
from app.benchmark.tables import Spread
from tests.conftest import ROOT, mostly_slow, only_run
from tests.exactness.cases import CASES
from tests.processes import run_here

QUICK = str(ROOT / "configs/quickstart.yaml")
BARE = "tests.benchmark.test_training.TrainByHand"


class TrainByHand(Callback):
    """An epoch of the bare loop in the place of fit's."""

    def on_train_start(self, trainer, pl_module):
        bare_loop(trainer, pl_module, list(trainer.train_dataloader))
        TrainByHand.weights = {name: value.detach().clone() for name, value in pl_module.named_parameters()}
        trainer.should_stop = True


@pytest.mark.parametrize("task", mostly_slow(CASES, "classification"))
def test_the_bare_loop_makes_the_weights_that_fit_makes(task, train, sources, tmp_path):
    case = CASES[task]
    flags = [*case.arguments(sources[case.data]), *case.no_dropout, "--trainer.max_epochs=1", "--test_after_fit=false"]
    assert train("fit", case.config, *flags, "--run_root=fit") == 0
    state = torch.load(only_run(tmp_path / "fit") / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert train("fit", case.config, *flags, f"--trainer.callbacks+={BARE}", "--run_root=bare") == 0
    different = [name for name, weight in TrainByHand.weights.items() if not torch.equal(weight, state[name])]
    assert not different


def test_phases_are_the_times_of_the_innermost_actions(monkeypatch):
    clock = iter([0.0, 1.0, 3.0, 6.0, 10.0, 15.0, 21.0, 28.0, 36.0])
    monkeypatch.setattr("app.benchmark.phases.time.perf_counter", lambda: next(clock))
    profiler = PhaseProfiler()
    profiler.stop("run_training_batch")  # begun before: left out
    with profiler.profile("[LightningModule]Classification.optimizer_step"):  # from 3
        with profiler.profile("[Strategy]SingleDeviceStrategy.training_step"):  # from 6 to 10
            pass
        with profiler.profile("[Strategy]SingleDeviceStrategy.backward"):  # from 15 to 21
            pass
    # the optimizer's own: 3 to 6, 10 to 15, 21 to 28; the loop's: 0 to 3 and 28 to 36
    assert {phase: round(36 * share) for phase, share in profiler.shares().items() if share} == {
        "optimizer": 15, "forward": 4, "backward": 6, "loop": 11,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("action", "phase"),
    [
        ("[_TrainingEpochLoop].train_dataloader_next", "data"),
        ("[Strategy]SingleDeviceStrategy.batch_to_device", "data"),
        ("[Callback]NormGradients.on_train_batch_start", "callbacks"),
        ("[Callback]RunRecord.on_before_optimizer_step", "callbacks"),
        ("[LightningModule]Parsing.configure_gradient_clipping", "optimizer"),
        ("run_training_batch", "loop"),
    ],
)
def test_phase_of_an_action(action, phase):
    assert phase_of(action) == phase


def test_figures_of_what_a_run_wrote():
    found = {"updates": 10, "pairs": [[2.0, 1.0], [4.0, 5.0], [5.0, 5.0]], "tokens": [100, 100, 100],
             "unit": "words", "phases": {}, "first_step_s": 3.0}  # fmt: skip
    got = figures(found, {"peak_rss_bytes": 2**29})
    assert got.updates_s.median == 2.5 and got.tokens_s == Spread(25.0, 20.0, 50.0) and got.unit == "words"
    assert got.ratio == Spread(1.0, 0.5, 1.25) and got.peak_gib == 0.5
    assert math.isnan(figures({**found, "pairs": [[2.0, math.nan]] * 3}, {"peak_rss_bytes": 1}).ratio.median)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # transformers and accelerate warn of what a machine lacks
def test_a_tiny_run_against_the_bare_loop_and_against_trainer(tiny_texts, tmp_path, monkeypatch):
    tiny = [*CASES["classification"].arguments(tiny_texts), f"--csv={tmp_path}"]
    for room in ("training", "__main__"):
        monkeypatch.setattr(f"app.benchmark.{room}.CLASSIFICATION", QUICK)
    monkeypatch.setattr("app.benchmark.fit.subprocess", SimpleNamespace(run=run_here))
    assert main(["training", "--configs", QUICK, "--blocks", "2", "--updates", "50", "--repeats", "1", *tiny]) == 0
    (fit,), (trainer,) = (
        list(csv.DictReader((tmp_path / f"{name}.csv").read_text().splitlines())) for name in ("training", "trainer")
    )
    shares = [float(value) for column, value in fit.items() if column.endswith(" %")]
    assert len(shares) == 6 and min(shares[1:4]) > 1  # forward, backward and optimizer all take time
    assert float(trainer["Trainer / fit"]) > 0 and trainer["runs"] == "1"


def test_scaling_and_processes_change_one_thing_a_line(monkeypatch):
    asked = []

    def time_fit(config, arguments, blocks, updates, bare, threads=None):
        asked.append((arguments, threads))
        speed = Spread(*[100.0 / len(asked)] * 3)
        return FitFigures(1, speed, speed, "tokens", speed, {}, 1.0, 1.0)

    monkeypatch.setattr(scaling, "time_fit", time_fit)
    _, second, *_ = scaling.size_scaling(["--norm=none"], 1, 1)
    assert asked[0] == (["--norm=none"], None) and all(args[0] == "--norm=none" for args, _ in asked)
    assert second.cells["relative time per token"] == 2  # half as fast as the first
    asked.clear()
    assert [row.cells["processes"] for row in scaling.processes([], 1, 1)] == [1, 1, 2]
    assert [("--trainer.devices=2" in args) for args, _ in asked] == [False, False, True]


@pytest.mark.slow
def test_bad_input_gets_a_line(tiny_texts, capsys):
    tiny = [*CASES["classification"].arguments(tiny_texts), "--repeats", "0", "--configs", QUICK]
    assert main(["training", "--trainer.limit_train_batches", "1", *tiny]) == 2
    assert "an epoch has a single update, too few for a block" in capsys.readouterr().err


def test_accelerate_is_pinned_once_and_the_configs_are_there():
    assert REQUIREMENT in (ROOT / "tests" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert all((ROOT / config).is_file() for config in CONFIGS)
