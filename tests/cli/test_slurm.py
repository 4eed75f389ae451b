"""Tasks of SLURM are the processes of the run, or the command says in a line what to start instead."""

import pytest

from tests.exactness.cases import CASES
from tests.exactness.launch import SEVERAL

CASE = CASES["classification"]
TWO = [*SEVERAL, "--trainer.devices=2"]
ALONE = "--trainer.plugins+=pytorch_lightning.plugins.environments.LightningEnvironment"


@pytest.fixture
def fit(train, tiny_texts, tmp_path_factory, monkeypatch):
    """Call fit as a task of a job; dry, as what is refused is so before the first step."""
    cache = tmp_path_factory.getbasetemp() / "slurm"

    def call(tasks, variables, *arguments):
        of_job = {"JOB_ID": 7, "NTASKS": tasks, "PROCID": 0, "LOCALID": 0, "NODEID": 0, "NODELIST": "localhost"}
        for name, value in {**of_job, "JOB_NAME": "train", **variables}.items():
            monkeypatch.setenv(f"SLURM_{name}", str(value))
        small = [*CASE.arguments(tiny_texts), "--trainer.fast_dev_run=1", f"--data.cache_dir={cache}"]
        return train("fit", CASE.config, *small, *arguments)

    return call


@pytest.mark.parametrize(
    ("tasks", "variables", "arguments", "says"),
    [
        (2, {"NTASKS_PER_NODE": 2}, TWO, ["SLURM_NTASKS is 2", "srun did not start", "put srun before"]),
        (2, {"STEP_ID": 0xFFFFFFFB}, TWO, ["SLURM_NTASKS is 2", "srun did not start", "put srun before"]),
        (2, {"STEP_ID": 0}, TWO, ["SLURM_NTASKS_PER_NODE is not set", "pass --ntasks-per-node"]),
        (2, {"STEP_ID": 0, "NTASKS_PER_NODE": 2}, [], ["num_nodes is 1", "SLURM_NTASKS is 2;", "one task per device"]),
        (1, {}, TWO, ["num_nodes is 2", "SLURM_NTASKS is 1;", "one task per device"]),
    ],
)
def test_tasks_that_are_not_the_processes_are_refused(tasks, variables, arguments, says, fit, tmp_path, capsys):
    assert fit(tasks, variables, *arguments) == 2
    answer = capsys.readouterr().err
    assert answer.count("\n") == 1 and not (tmp_path / "runs").exists()
    for words in says:
        assert words in answer


@pytest.mark.parametrize(
    ("tasks", "variables", "arguments"), [(1, {}, []), (2, {}, [ALONE]), (2, {"JOB_NAME": "interactive"}, [])]
)
def test_one_task_and_what_ignores_slurm_train(tasks, variables, arguments, fit):
    assert fit(tasks, variables, *arguments) == 0
