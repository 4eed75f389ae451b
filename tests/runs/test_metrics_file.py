"""metrics.jsonl: one line a step, cut back on resumption, never without a line it had."""

import json
import math

from app.runs.metrics_file import MetricsFile, read_events


def test_events_are_lines_and_one_step_is_one_line(tmp_path):
    file = MetricsFile(tmp_path / "run")
    file.log_metrics({"epoch": 1, "train/loss": 0.5}, step=10)
    file.log_metrics({"epoch": 1, "train/loss": 0.4}, step=20)
    file.log_metrics({"epoch": 1, "val/loss": 0.6}, step=20)
    file.log_metrics({"epoch": 2, "train/loss": 0.3}, step=30)
    assert read_events(tmp_path / "run") == [
        {"step": 10, "epoch": 1, "train/loss": 0.5},
        {"step": 20, "epoch": 1, "train/loss": 0.4, "val/loss": 0.6},
        {"step": 30, "epoch": 2, "train/loss": 0.3},
    ]


def test_numbers_keep_their_precision_and_what_json_lacks_is_null(tmp_path):
    MetricsFile(tmp_path).log_metrics({"epoch": 1, "a": 1 / 3, "b": math.nan, "c": math.inf}, step=1)
    (event,) = read_events(tmp_path)
    assert event["a"] == 1 / 3 and event["b"] is None and event["c"] is None


def test_cut_back_drops_later_steps_and_goes_on_from_there(tmp_path):
    file = MetricsFile(tmp_path)
    for step in (10, 20, 30):
        file.log_metrics({"epoch": 1, "train/loss": step / 100}, step=step)
    resumed = MetricsFile(tmp_path)
    resumed.truncate_to({"step": 20, "epoch": 1, "train/loss": 0.2})
    resumed.log_metrics({"epoch": 1, "val/loss": 0.7}, step=20)
    resumed.log_metrics({"epoch": 1, "train/loss": 0.1}, step=30)
    assert [event["step"] for event in read_events(tmp_path)] == [10, 20, 30]
    assert read_events(tmp_path)[1] == {"step": 20, "epoch": 1, "train/loss": 0.2, "val/loss": 0.7}


def test_what_joined_a_line_after_the_checkpoint_is_dropped(tmp_path):
    file = MetricsFile(tmp_path)
    file.log_metrics({"epoch": 1, "train/loss": 0.5}, step=10)
    known = file.last
    file.log_metrics({"epoch": 1, "val/loss": 0.6}, step=10)
    MetricsFile(tmp_path).truncate_to(known)
    assert read_events(tmp_path) == [{"step": 10, "epoch": 1, "train/loss": 0.5}]


def test_a_run_that_begins_has_no_events(tmp_path):
    MetricsFile(tmp_path).log_metrics({"epoch": 1, "train/loss": 0.5}, step=10)
    MetricsFile(tmp_path).truncate_to(None)
    assert read_events(tmp_path) == []


def test_a_torn_last_line_is_passed_over_and_removed(tmp_path):
    MetricsFile(tmp_path).log_metrics({"epoch": 1, "train/loss": 0.5}, step=10)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 20, "ep')
    assert [event["step"] for event in read_events(tmp_path)] == [10]
    MetricsFile(tmp_path).truncate_to({"step": 10, "epoch": 1, "train/loss": 0.5})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10]


def test_a_key_that_is_logged_again_may_become_shorter(tmp_path):
    file = MetricsFile(tmp_path)
    for step in (1, 2):
        for value in (0.123456789, 0.5, 1):
            file.log_metrics({"cpu": value}, step=step)
    assert read_events(tmp_path) == [{"step": 1, "cpu": 1}, {"step": 2, "cpu": 1}]
