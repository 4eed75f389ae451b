"""The benchmark of predict, on a real run and on bad input."""

from types import SimpleNamespace

from app.benchmark.__main__ import main
from tests.conftest import only_run
from tests.exactness.cases import CASES
from tests.processes import run_here


def test_a_trained_run_is_timed_on_a_text(train, tiny_texts, tmp_path, capsys, monkeypatch):
    flags = [*CASES["classification"].arguments(tiny_texts), "--trainer.max_epochs=1"]
    assert train("fit", CASES["classification"].config, *flags) == 0
    run = only_run(tmp_path / "runs")
    text = tmp_path / "text"
    text.write_text("\n".join(f"a warm film number {i}" for i in range(103)) + "\n\n")
    clock = iter([0.0, 12.0, 20.0, 22.0])  # twelve seconds for all lines, two for the first three
    monkeypatch.setattr("app.benchmark.predict.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr("app.benchmark.predict.subprocess", SimpleNamespace(run=run_here))
    assert main(["predict", str(run), "--input", str(text), "--repeats", "1"]) == 0
    header, _, row = capsys.readouterr().out.splitlines()[-3:]
    assert header == "| run | words/s | words | start and end s | runs |"
    assert row.startswith("| classification\\|rt\\|bert-2x32\\|adanorm") and row.endswith(
        " | 50 (50 to 50) | 500 | 2 | 1 |"
    )
    text.write_text("short\n")
    assert main(["predict", str(run), "--input", str(text)]) == 2
    assert "has 1 lines; must have more than 6" in capsys.readouterr().err
