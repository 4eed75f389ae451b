"""Runs of one seed are paired, whatever their norm; and how a run came to its scores."""

import pytest
import torch

from tests.conftest import mostly_slow, only_run, read_result
from tests.exactness.cases import CASES

SEEDS = ("seed_everything", "init_seed", "order_seed", "dropout_seed")


@pytest.mark.parametrize("task", mostly_slow(CASES, "classification"))
def test_runs_of_one_seed_are_paired_whatever_their_norm(task, train, tmp_path, sources):
    case = CASES[task]
    settings = [*case.arguments(sources[case.data]), "--trainer.limit_train_batches=1"]
    proofs = set()
    for norm in ("layernorm", "adanorm", "none"):
        root = tmp_path / norm
        one_step = ["--trainer.max_epochs=1", "--test_after_fit=false", f"--run_root={root}"]
        assert train("fit", case.config, *settings, *one_step, "--norm", norm) == 0
        result = read_result(only_run(root))
        proofs.add(tuple(result[f"{what}_fingerprint"] for what in ("data", "plan", "weights")))
    assert len(proofs) == 1


def test_the_three_seeds_are_all_that_the_seed_of_a_run_decides(train, tmp_path, tiny_texts):
    case = CASES["classification"]
    short = [*case.arguments(tiny_texts), "--trainer.max_epochs=1", "--test_after_fit=false"]

    def fit(*seeds):
        root = tmp_path / "-".join(map(str, seeds))
        arguments = [f"--{what}={seed}" for what, seed in zip(SEEDS, seeds, strict=True) if seed is not None]
        assert train("fit", case.config, *short, *arguments, f"--run_root={root}") == 0
        run = only_run(root)
        result = read_result(run)
        weights = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        return (
            run.name,
            result["signature"].split("|")[5:-1],
            result,
            torch.cat([w.flatten() for w in weights.values()]),
        )

    runs = {seeds: fit(*seeds) for seeds in ((5, None, None, None), (1, 5, 5, 5), (5, 5, None, 6))}
    whole, apart, dropout = runs.values()
    assert [run[:2] for run in runs.values()] == [
        ("seed5", ["seed:5"]),
        ("seed1-init5-order5-dropout5", ["seed:1", "init:5", "order:5", "dropout:5"]),
        ("seed5-dropout6", ["seed:5", "dropout:6"]),
    ]
    assert torch.equal(whole[3], apart[3]) and not torch.equal(whole[3], dropout[3])
    for what in ("data", "plan", "weights"):
        assert len({run[2][f"{what}_fingerprint"] for run in runs.values()}) == 1
