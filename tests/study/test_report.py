"""Reports of made-up studies: files, words, and how a browser shows them."""

import csv
import json
import math
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from app.errors import InputError
from app.metrics import metric_info
from app.norms import NormSpec
from app.study.__main__ import main
from app.study.analysis.analyse import analyse
from app.study.analysis.words import interval, number
from app.study.plan import Condition, Variant
from app.study.report.compare import study_of_runs
from app.study.report.page import verdicts_by_place
from app.study.report.pictures import Gallery, tuning_of
from app.study.report.write import write_report
from app.study.sentence_bootstrap import sentence_tests
from app.study.tuning import Tuned, TuningResult
from app.study.tuning.result import Point
from tests.study.conftest import maker
from tests.study.made_up import result, seeds


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The folder of a report: a norm that is better, one that diverged on a seed, and one with a long label."""
    path = tmp_path_factory.mktemp("report")
    norms = ["layernorm", "adanorm", "detachnorm", {"name": "none", "sites": ["layer.0"]}]
    dead = {**seeds(76, 0.1), 3: result(3, 0, status="diverged", test=None)}
    runs = {"layernorm": seeds(75), "adanorm": seeds(77, 0.1), "detachnorm": dead, "none": seeds(70, 0.1)}
    for trained in (run for by_seed in runs.values() for run in by_seed.values()):
        trained["training"] = {"model.optimizer.lr": 0.001, "trainer.max_epochs": 2}
        trained["gap"]["final"]["loss"] += trained["seed"] / 1000
    maker(path)(runs, norms=norms, baseline="layernorm")
    assert main(["report", str(path / "study.yaml"), "--study_root", str(path / "studies")]) == 0
    return path / "studies/study/report"


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_is_one_well_formed_file_that_needs_no_network(report):
    names = {path.name for path in report.iterdir()}
    pictures = {"forest_accuracy", "rt_curves", "rt_overfitting", "rt_gradients"}
    texts = {"report.html", "report.md", "table.tex", *(f"{name}.csv" for name in ("scores", "comparisons"))}
    assert names == texts | {"curves.csv", "norm_gradients.csv"} | {
        f"{p}.{s}" for p in pictures for s in ("svg", "pdf")
    }
    html = (report / "report.html").read_text(encoding="utf-8")
    assert not [word for word in ("src=", "@import", "<link", "url(http", 'href="http', "fetch(") if word in html]
    opened = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "br"):
                opened.append(tag)

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Parser().feed(html)
    assert not opened and html.count("<svg") == 2 * len(pictures)  # for broad and for narrow screens
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    sections = ("answer", "claims", "design", "comparisons", "test-scores", "overfitting", "gradients", "cost", "runs")
    assert [f'<h2 id="{name}">' in html for name in sections] == [True] * len(sections)
    assert "0.001, not tuned for any norm" in html and "2 epochs" in html and "python train.py fit" in html
    assert "re-centring is 0 at every site" in html and "(best)" not in html


def test_every_comparison_has_the_numbers_of_the_csv_in_the_page_and_in_the_picture(report):
    html = unescape((report / "report.html").read_text(encoding="utf-8"))
    forest, tables = html[html.index("<svg") : html.index("</svg>")], html[html.index('id="test-scores"') :]
    rows = rows_of(report / "comparisons.csv")
    assert {row["family"] for row in rows} == {"scores", "overfitting", "gradients", "divergences"}
    for row in (row for row in rows if row["family"] == "scores"):
        mean = number(float(row["mean"]), float(row["se"]), signed=True)
        assert f"{row['verdict']}" in forest and mean in forest and row["words"] in html
        if row["other"] == "layernorm":
            assert f">{mean}" in tables and interval(*(float(row[key]) for key in ("low", "high", "se"))) in tables
    better, survivors = rows[0], rows[1]
    assert (better["variant"], better["verdict"], better["n"]) == ("adanorm(k=0.1,scale=1)", "better", "4")
    assert survivors["diverged_ours"] == "1" and "1 of 4 diverged" in forest and "over survivors" in forest
    named = set(re.findall('data-name="([^"]+)"', forest))
    assert any(name.startswith("adanorm(k=0.1,scale=1), seed 3: +1.95") for name in named)
    assert "detachnorm, seed 3: diverged" in named


def test_scores_are_a_row_for_each_run_without_formatting(report):
    rows = rows_of(report / "scores.csv")
    assert len(rows) == 16 and rows[0]["study"] == "study"
    assert [row["status"] for row in rows].count("diverged") == 1
    ada = next(row for row in rows if row["variant"].startswith("adanorm") and row["seed"] == "2")
    assert float(ada["test"]) == pytest.approx(78.6) and ada["learning_rate"] == "0.001"
    assert ada["gap"] == repr(0.2 + 2 / 1000) and ada["data_fingerprint"] == "d" and len(ada["training_digest"]) == 16
    assert "--norm adanorm" in ada["command"] and len(rows_of(report / "curves.csv")) == 32
    assert rows_of(report / "norm_gradients.csv")[1]["rescaling"] == "0.998"


def test_the_csv_files_alone_remake_the_report(report, tmp_path):
    shutil.copytree(report, tmp_path / "kept")
    plan = str(report.parents[2] / "study.yaml")
    arguments = ["--from", str(tmp_path / "kept"), "--output", str(tmp_path / "again")]
    assert main(["report", plan, "--study_root", str(tmp_path / "nothing"), *arguments]) == 0
    for name in ("report.html", "scores.csv", "comparisons.csv", "curves.csv", "norm_gradients.csv", "table.tex"):
        assert (tmp_path / "again" / name).read_bytes() == (report / name).read_bytes(), name


def test_the_csv_files_of_another_study_are_refused(report, made, tmp_path, capsys):
    made({"layernorm": {}, "rmsnorm": {}})
    assert main(["report", str(tmp_path / "study.yaml"), "--from", str(report)]) == 2
    assert "is not a variant of study study; give the folder of this study's report" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("scores.csv", lambda text: text.replace("seed", "sead", 1)),
        ("scores.csv", lambda text: text.replace("finished,rt", "finished,other").replace(",rt,", ",other,")),
        ("scores.csv", lambda text: text.replace("0.2", "q")),
        ("comparisons.csv", lambda text: text.replace("verdict", "word", 1)),
    ],
)
def test_csv_files_that_were_changed_are_refused(report, tmp_path, capsys, name, change):
    shutil.copytree(report, tmp_path / "kept")
    (tmp_path / "kept" / name).write_text(change((report / name).read_text()))
    plan = str(report.parents[2] / "study.yaml")
    assert main(["report", plan, "--from", str(tmp_path / "kept"), "--output", str(tmp_path / "again")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / 'kept'}: its csv files are not as a report of study study has them")
    assert not (tmp_path / "again").exists()


def made_run(root, norm, seed, accuracy, lr=1e-3):
    spec = NormSpec.parse(norm)
    folder = root / f"classification/rt/bert-4x128/{spec.label}/seed{seed}"
    folder.mkdir(parents=True)
    of_norm = {"name": spec.name, **spec.to_dict(), "label": spec.label, "replaced": 9, "total": 9, "left": []}
    settings = {"training": {"model.optimizer.lr": lr}, "norm": of_norm}
    (folder / "result.json").write_text(json.dumps(result(seed, accuracy + 0.1 * (-1) ** seed, **settings)))
    return folder


def test_runs_that_no_study_started_are_compared(tmp_path, capsys):
    spread = {"layernorm": 0, "rmsnorm": 0.03}
    ours = [
        made_run(tmp_path / "runs", norm, seed, 75 + 2 * (norm == "rmsnorm") + seed * spread[norm])
        for norm in spread
        for seed in (1, 2, 3)
    ]
    assert main(["compare", *map(str, ours), "--output", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out/report.html")
    first = rows_of(tmp_path / "out/comparisons.csv")[0]
    assert (first["variant"], first["other"], first["verdict"]) == ("rmsnorm", "layernorm", "better")
    assert first["condition"] == "rt, bert-4x128" and float(first["mean"]) == pytest.approx(2.06)
    old = json.loads((ours[0] / "result.json").read_text())
    (ours[0] / "result.json").write_text(json.dumps({key: old[key] for key in old if key != "training"}))
    assert main(["compare", *map(str, ours), "--output", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out/report.md").read_text()
    assert "- pairing: 1 of 6 runs, of an earlier version, do not record their settings; they are paired by" in page


def test_settings_that_runs_do_not_share_are_conditions_or_belong_to_variants(tmp_path):
    slow = [made_run(tmp_path / "a", norm, 1, 75) for norm in ("layernorm", "adanorm")]
    fast = [made_run(tmp_path / "b", norm, 1, 75, lr=1e-2) for norm in ("layernorm", "adanorm")]
    study, trials = study_of_runs([*slow, *fast])
    assert [c.label for c in study.conditions] == ["rt, bert-4x128, lr=0.001", "rt, bert-4x128, lr=0.01"]
    assert [variant.label for variant in study.variants] == ["layernorm", "adanorm(k=0.1,scale=1)"] and len(trials) == 4
    assert [table.name for table in analyse(study, trials).tables] == [c.label for c in study.conditions]
    own, _ = study_of_runs([slow[0], fast[1]])
    assert [c.label for c in own.conditions] == ["rt, bert-4x128"]
    assert [variant.label for variant in own.variants] == ["layernorm[lr=0.001]", "adanorm(k=0.1,scale=1)[lr=0.01]"]
    assert len(study_of_runs([tmp_path / "a"])[1]) == 2  # a folder with runs in it
    assert study_of_runs(slow, "adanorm(k=0.1,scale=1)")[0].baseline.label == "adanorm(k=0.1,scale=1)"
    with pytest.raises(InputError, match="--baseline is none; must be one of layernorm, adanorm"):
        study_of_runs(slow, "none")
    unknown = made_run(tmp_path / "d", "layernorm", 1, 70)
    content = (unknown / "result.json").read_text().replace('"name": "layernorm"', '"name": "mynorm"')
    (unknown / "result.json").write_text(content)
    for folders, why in (
        ([unknown, slow[0]], "result.json: unknown norm 'mynorm'"),
        ([slow[0]], "is the only finished run"),
        ([tmp_path / "nowhere"], "no finished run there"),
        ([tmp_path / "a", made_run(tmp_path / "c", "layernorm", 1, 70)], "are both layernorm with seed 1"),
    ):
        with pytest.raises(InputError, match=why):
            study_of_runs(folders)


PROBE = """<script>
const marks = () => [...document.querySelectorAll(".off")], button = document.querySelectorAll(".legend button")[1];
button.click();
const off = marks().length > 0 && marks().every((mark) => mark.dataset.series === button.dataset.of);
button.click();
const dot = [...document.querySelectorAll("use[data-name]")].find((mark) => mark.getBoundingClientRect().width > 0);
const {x, y} = dot.getBoundingClientRect();
dot.dispatchEvent(new PointerEvent("pointermove", {bubbles: true, clientX: x + 2, clientY: y + 2}));
parent.postMessage({width: innerWidth, fits: document.documentElement.scrollWidth <= innerWidth, off,
  on: marks().length === 0, named: document.getElementById("tip").textContent === dot.dataset.name}, "*");
</script></body>"""
FRAMES = """<script>const told = []; onmessage = (event) => { told.push(event.data);
document.title = JSON.stringify(told); }</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_shows_it_whole_on_a_screen_and_on_a_phone_and_its_legend_works(report, tmp_path):
    page = (report / "report.html").read_text(encoding="utf-8").replace("</body>", PROBE)
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    frames = [f'<iframe src="page.html" style="width: {width}px; height: 3000px"></iframe>' for width in (1280, 390)]
    (tmp_path / "frames.html").write_text(FRAMES + "".join(frames), encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=10000", "--dump-dom", f"file://{tmp_path / 'frames.html'}"]
    shown = subprocess.run(command, check=True, capture_output=True, timeout=120, text=True).stdout
    told = json.loads(unescape(re.search("<title>(.*)</title>", shown)[1]))
    assert sorted(frame.pop("width") for frame in told) == [390, 1280]
    assert told == [{"fits": True, "off": True, "on": True, "named": True}] * 2, told


def test_tuning_is_shown_with_what_was_tried_and_said_in_words(tmp_path):
    points = (Point({"lr": 1e-3}, {101: 75.0, 102: 75.4}), Point({"lr": 1e-2}, {101: math.nan, 102: 70.0}))
    ada = Variant(NormSpec.parse("adanorm"))
    tuned = Tuned(ada, points, {"lr": 1e-3}, True, None, 2.5, (), 4, 240.0)
    found = TuningResult(Condition("rt", ()), ("lr",), metric_info("accuracy"), (101, 102), {"lr": 1e-3}, (tuned,))
    plot, *sentences = tuning_of(Gallery(tmp_path), "rt_tuning", found, ["layernorm", ada.label])
    for words in ("lr=0.01, seed 101: diverged", "lr=0.001, seed 102: 75.4", "0.001 was chosen"):
        assert words in plot.broad and words in plot.narrow
    assert "#009e73" not in plot.broad and "#d55e00" in plot.broad  # its colour in all figures
    assert sentences[0].startswith(f"{ada.label}: best at lr=0.001") and sentences[0].endswith("1 diverged).")
    assert {path.name for path in tmp_path.iterdir()} == {"rt_tuning.svg", "rt_tuning.pdf"}


def test_a_verdict_that_depends_on_the_tuned_value_is_said_first():
    at = {"common lr=0.001": ("worse", -1.2), "each at its best lr": ("undecided", 0.1)}
    ours = Variant(NormSpec.parse("dyt"))
    tables = []
    for place, (verdict, mean) in at.items():
        numbers = SimpleNamespace(mean=mean, se=0.2, low=mean - 0.5, high=mean + 0.5)
        one = SimpleNamespace(verdict=verdict, estimate=numbers, diverged=SimpleNamespace(any=False), margin=0.5)
        row = SimpleNamespace(comparison=one)
        tables.append(SimpleNamespace(condition=f"rt, {place}", row=lambda variant, row=row: row))
    tuned = SimpleNamespace(condition=SimpleNamespace(label="rt"), keys=("model.optimizer.lr",))
    found = SimpleNamespace(places=lambda condition: tables, study=SimpleNamespace(variants=[ours]))
    (sentence,), cells = verdicts_by_place(found, tuned)
    assert sentence == (
        f"The verdict on {ours.label} is not the same at all values of model.optimizer.lr: worse (common lr=0.001), "
        "undecided (each at its best lr)."
    )
    assert cells.rows == [[ours.label, "worse: -1.20 (-1.70 to -0.70)", "undecided: +0.10 (-0.40 to +0.60)"]]


def test_a_report_at_a_look_says_that_the_study_goes_on(made, tmp_path):
    every = {"layernorm": seeds(75, 0.1), "none": seeds(75, 0.3)}
    runs = {norm: {seed: run for seed, run in own.items() if seed < 4} for norm, own in every.items()}
    page = write_report(*made(runs, looks=[3, 4]), tmp_path / "out").with_suffix(".md").read_text()
    assert "**A look before the end, after 6 of 8 runs: what is undecided goes on.**" in page


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
    assert "seed 2: BLEU" in (tmp_path / "studies/study/report/report.md").read_text()
