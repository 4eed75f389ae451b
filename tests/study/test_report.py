"""Reports of made-up studies: files, words, and how a browser shows them."""

import csv
import shutil
import subprocess

import pytest

from app.study.__main__ import main
from app.study.analysis.analyse import analyse
from app.study.sentence_bootstrap import sentence_tests
from tests.study.made_up import result, seeds


def test_the_report_is_one_file_with_tables_next_to_it(made, tmp_path, capsys):
    norms = ["layernorm", "adanorm", {"name": "none", "sites": ["layer.0"]}]
    results = {"layernorm": seeds(75), "adanorm": seeds(77, 0.1), "none": seeds(70, 0.1)}
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
        "does better than",
        "python train.py fit",
        "<svg",
    ):
        assert word in html
    assert not [word for word in ("src=", "@import", "<script", "url(http") if word in html]  # needs no network
    rows = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    assert [row["norm"] for row in rows] == ["layernorm", "adanorm(k=0.1,scale=1)", at_first]
    assert {(row["dataset"], row["model"]) for row in rows} == {("rt", "bert-4x128")} and "rt, bert-4x128" in html
    assert rows[1]["mean"] == "77.30" and rows[1]["difference"] == "+2.000*" and rows[1]["paper"] == "77.5"
    assert "& 77.30 &" in (folder / "table.tex").read_text()
    markdown = (folder / "report.md").read_text()
    assert "| adanorm(k=0.1,scale=1) | 77.30 |" in markdown
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
    (table,) = analyse(study, trials).tables
    found = {(test.variant.norm.name, test.seed): test for test in sentence_tests(table, study.baseline)}
    assert set(found) == {("adanorm", 1), ("adanorm", 2), ("none", 1), ("none", 2)}
    ada, none = found["adanorm", 1], found["none", 1]
    assert (ada.bleu, ada.baseline_bleu) == (
        pytest.approx(corpus_bleu(worse, [references]).score), pytest.approx(100)
    )  # fmt: skip
    assert ada.p_value < 0.05 < none.p_value
    assert main(["report", str(tmp_path / "study.yaml"), "--study_root", str(tmp_path / "studies")]) == 0
    assert "paired bootstrap" in (tmp_path / "studies/study/report/report.md").read_text()
