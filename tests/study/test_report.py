"""Comparisons and reports of made-up studies whose results are known: tables, pairs, claims, files."""

import csv
import json
import math
import shutil
import subprocess

import pytest

from app.metrics import MetricInfo, metric_info
from app.study.__main__ import main
from app.study.claims import answers
from app.study.comparison import tables
from app.study.plan import read_study
from app.study.report import row_cells
from app.study.sentence_bootstrap import sentence_tests

FINGERPRINTS = {"data_fingerprint": "d", "plan_fingerprint": "p", "weights_fingerprint": "w"}
LUCK = {1: 0.0, 2: 1.5, 3: -0.7, 4: 0.4}


def result(seed, accuracy, train=0.3, valid=0.5, **changes):
    """A result.json whose test accuracy, in per cent, is `accuracy` plus the luck of the seed."""
    return {
        "schema": 2, "status": "finished", "task": "classification", "dataset": "rt", "model": "bert-4x128",
        "seed": seed, **FINGERPRINTS,
        "primary_metric": {"name": "accuracy", "mode": "max"}, "test": {"accuracy": (accuracy + LUCK[seed]) / 100},
        "final": {"val": {"loss": valid}, "train_probe": {"loss": train}},
        "gap": {"final": {"loss": valid - train}, "rise": {"loss": 0.1}},
        "norm_gradients": {"recentring": 0.0, "rescaling": 0.9},
        "cost": {"elapsed_s": 60.0, "tokens_per_s": 1e4, "peak_rss_bytes": 2**30, "parameters": 1234567},
        **changes,
    }  # fmt: skip


@pytest.fixture
def made(tmp_path):
    """A study whose runs were made up: for each norm, the result of each seed."""

    def make(results, seeds=(1, 2, 3, 4), **settings):
        (tmp_path / "rt.yaml").write_text("norm: layernorm\n")
        content = {"configs": [str(tmp_path / "rt.yaml")], "norms": list(results), "seeds": list(seeds), **settings}
        (tmp_path / "study.yaml").write_text(json.dumps(content))
        study = read_study(tmp_path / "study.yaml")
        trials = study.trials(tmp_path / "studies")
        for trial in trials:
            found = results[trial.variant.norm.name].get(trial.seed)
            if found is not None:
                folder = trial.root / "classification/rt/bert-4x128" / trial.variant.norm.label / f"seed{trial.seed}"
                folder.mkdir(parents=True)
                (folder / "config.yaml").write_text("")
                (folder / "result.json").write_text(json.dumps(found))
                events = [
                    {"step": 10 * e, "epoch": e, "val/loss": 1 / e, "train_probe/loss": 0.5 / e, "val/accuracy": 0.7}
                    for e in (1, 2)
                ]
                (folder / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        return study, trials

    return make


def seeds(accuracy, spread=0.05, **changes):
    return {seed: result(seed, accuracy + spread * (-1) ** seed, **changes) for seed in LUCK}


def test_a_planted_difference_is_shown_and_none_is_not(made):
    (table,) = tables(*made({"layernorm": seeds(75), "adanorm": seeds(77, 0.1), "none": seeds(75.02, 0.2)}))
    baseline, ada, none = table.rows
    assert baseline.difference is None and baseline.test.mean == pytest.approx(75.3, abs=0.01)
    assert ada.is_shown and ada.words.startswith("difference shown: +2.00, 95 % interval +1.")
    assert (
        not none.is_shown
        and none.words.startswith("no difference shown: +0.02")
        and "the minimum detectable difference is" in none.words
    )
    assert ada.adjusted > ada.difference.p_value and table.best == ada
    assert ada.difference.sd == pytest.approx(0.0577, abs=1e-3)  # the seeds' luck, 0.9, is in both and drops out


def test_a_metric_that_only_the_runs_know_has_its_direction_and_its_unit(made):
    own = MetricInfo("wer", "word error rate", higher_is_better=False, is_share=True)
    runs = {
        norm: {seed: result(seed, 0, primary_metric=own.to_dict(), test={"wer": rate}) for seed in LUCK}
        for norm, rate in (("layernorm", 0.25), ("adanorm", 0.23))
    }
    (table,) = tables(*made(runs))
    assert table.metric == own and metric_info("wer") is None
    assert table.best.variant.norm.name == "adanorm" and table.best.test.mean == pytest.approx(23)
    assert {answer.verdict for answer in answers([table]) if answer.claim.startswith("3")} == {"supported"}


def test_runs_that_are_not_verified_as_paired_are_not_compared(made):
    (table,) = tables(*made({"layernorm": seeds(75), "adanorm": seeds(77, plan_fingerprint="other")}))
    assert table.rows[1].difference is None and "no run is paired" in table.rows[1].words


def test_below_three_seeds_there_is_no_winner(made):
    few = {"layernorm": seeds(75), "adanorm": seeds(85)}
    (table,) = tables(*made({norm: {s: r for s, r in runs.items() if s < 3} for norm, runs in few.items()}, (1, 2)))
    assert table.best is None and not table.rows[1].is_shown and "2 paired seeds: too few" in table.rows[1].words


def test_diverged_runs_are_counted_as_such(made):
    broken = {s: result(s, 0, status="diverged", test=None) for s in (1, 2)} | {3: result(3, 70)}
    (table,) = tables(*made({"layernorm": seeds(75), "none": broken}))
    row = table.rows[1]
    assert (row.diverged, row.missing, row.test.n) == (2, 1, 1) and math.isnan(row.test.sd)


def test_the_claims_are_judged(made):
    results = {
        "layernorm": seeds(75, train=0.10, valid=0.60), "layernorm_simple": seeds(75.01, 0.3),
        "detachnorm": seeds(78), "adanorm": seeds(77, train=0.20, valid=0.50),
    }  # fmt: skip
    for number, runs in enumerate(results.values()):  # losses that differ by seed, so that there is something to test
        for seed, run in runs.items():
            run["final"]["val"]["loss"] += 0.001 * seed * number
            run["final"]["train_probe"]["loss"] -= 0.001 * seed * number
    found = {answer.claim[0]: answer for answer in answers(tables(*made(results)))}
    assert [found[claim].verdict for claim in "1234"] == ["undecided", "contradicted", "supported", "supported"]
    assert "adanorm minus layernorm: +2.000 (95 % interval" in found["3"].numbers and "shown" in found["3"].numbers


def test_claims_without_their_norms_are_skipped(made):
    assert [a.claim[0] for a in answers(tables(*made({"layernorm": seeds(75), "adanorm": seeds(77)})))] == ["3", "4"]


def test_a_norm_with_more_than_options_is_not_the_published_one(made):
    norms = ["layernorm", {"name": "layernorm", "freeze": "gain"}, {"name": "adanorm", "by_role": {"ffn": {"k": 0}}}]
    (table,) = tables(*made({"layernorm": seeds(75), "adanorm": seeds(77)}, norms=norms))
    assert [row_cells(table, row)[-1] for row in table.rows] == ["77.21", "", ""]
    assert table.row("adanorm") is None and answers([table]) == []


def test_the_report_is_one_file_with_tables_next_to_it(made, tmp_path, capsys):
    norms = ["layernorm", "adanorm", {"name": "none", "sites": ["layer.0"]}]
    results = {"layernorm": seeds(75), "adanorm": seeds(77, 0.1), "none": {1: result(1, 70)}}
    study, _ = made(results, norms=norms, baseline="layernorm")
    at_first = study.norms[-1].label
    arguments = [str(tmp_path / "study.yaml"), "--study_root", str(tmp_path / "studies")]
    assert main(["report", *arguments]) == 0
    folder = tmp_path / "studies/study/report"
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    assert {path.name for path in folder.iterdir()} == {
        "report.html", "report.md", "table.csv", "table.tex", "rt_curves.svg", "rt_curves.pdf", "rt_norms.svg",
        "rt_norms.pdf",
    }  # fmt: skip
    html = (folder / "report.html").read_text()
    for word in (
        "Results",
        "supported",
        "77.30",
        "77.5",
        "difference shown",
        "python train.py fit",
        "<svg",
        "waiting",
        'class="best"',
    ):
        assert word in html
    assert not [word for word in ("src=", "@import", "<script", "url(http") if word in html]  # needs no network
    rows = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    assert [row["norm"] for row in rows] == ["layernorm", "adanorm(k=0.1,scale=1) (best)", at_first]
    assert {(row["dataset"], row["model"]) for row in rows} == {("rt", "bert-4x128")} and "rt, bert-4x128" in html
    assert rows[1]["mean"] == "77.30" and rows[1]["difference"] == "+2.00*" and rows[1]["paper"] == "77.5"
    assert r"\textbf{77.30}" in (folder / "table.tex").read_text()
    markdown = (folder / "report.md").read_text()
    assert "| adanorm(k=0.1,scale=1) (best) | 77.30 |" in markdown
    assert f"\n- {at_first} is `none` at `layer.0`\n" in markdown and f"{at_first} is `none` at `layer.0`." in html


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_it_whole(made, tmp_path, width):
    made({"layernorm": seeds(75), "adanorm": seeds(77, 0.1)})
    assert main(["report", str(tmp_path / "study.yaml"), "--study_root", str(tmp_path / "studies")]) == 0
    report, picture = tmp_path / "studies/study/report/report.html", tmp_path / "shot.png"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += [f"--window-size={width},900", f"--screenshot={picture}", f"file://{report}"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert picture.stat().st_size > 10_000


def test_a_study_without_results_has_no_report(made, tmp_path, capsys):
    made({"layernorm": {}, "adanorm": {}})
    assert main(["report", str(tmp_path / "study.yaml"), "--study_root", str(tmp_path / "studies")]) == 2
    assert "no run has ended yet" in capsys.readouterr().err
    assert not (tmp_path / "studies").exists()


def test_status_tells_what_is_done_and_how_long_the_rest_will_take(made, tmp_path, capsys):
    made({"layernorm": seeds(75), "adanorm": {1: result(1, 77)}})
    assert main(["status", str(tmp_path / "study.yaml"), "--study_root", str(tmp_path / "studies")]) == 0
    shown = capsys.readouterr().out
    assert "5 of 8 trials done; the other 3 will take about 3 minutes, one after the other" in shown
    assert shown.count("finished") == 5 and shown.count("waiting") == 3


@pytest.mark.slow
def test_translations_are_compared_across_sentences_by_sacrebleu(made, tmp_path):
    from sacrebleu import corpus_bleu

    references = [f"this is sentence number {n} of the small set of tests" for n in range(60)]
    worse = [line.replace("small", "large") if n % 2 else line for n, line in enumerate(references)]
    signature = {"score_signatures": {"bleu": "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"}}
    metric = {"primary_metric": {"name": "bleu", "mode": "max"}, "task": "translation", "dataset": "pairs", **signature}
    runs = {
        norm: {seed: result(seed, 0, **metric, test={"bleu": score}) for seed in (1, 2)}
        for norm, score in (("layernorm", 100.0), ("adanorm", 80.0), ("none", 100.0))
    }
    study, trials = made(runs, (1, 2))
    for trial in trials:
        (folder,) = trial.root.glob("*/*/*/*/seed*")
        texts = {"hypothesis": worse if trial.variant.norm.name == "adanorm" else references, "reference": references}
        for name, lines in texts.items():
            (folder / f"test_{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    (table,) = tables(study, trials)
    found = {(test.variant.norm.name, test.seed): test for test in sentence_tests(table, trials, study.baseline)}
    assert set(found) == {("adanorm", 1), ("adanorm", 2), ("none", 1), ("none", 2)}
    ada, none = found["adanorm", 1], found["none", 1]
    assert (ada.bleu, ada.baseline_bleu) == (
        pytest.approx(corpus_bleu(worse, [references]).score), pytest.approx(100)
    )  # fmt: skip
    assert ada.p_value < 0.05 < none.p_value
    assert main(["report", str(tmp_path / "study.yaml"), "--study_root", str(tmp_path / "studies")]) == 0
    assert "paired bootstrap" in (tmp_path / "studies/study/report/report.md").read_text()
