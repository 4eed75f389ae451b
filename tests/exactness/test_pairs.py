"""Runs of one seed are paired, whatever their norm; and how a run came to its scores."""

import pytest

from tests.conftest import mostly_slow, only_run, read_result
from tests.exactness.cases import CASES


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
