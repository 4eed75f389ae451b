"""inspect: what it prints agrees with the model, for every task; bad input; the verdict."""

import json
from types import SimpleNamespace

import pytest

from app.norms import norm_class, norm_names
from app.study.__main__ import main
from app.study.inspection import describe, faults_of, verdict
from tests.conftest import ROOT
from tests.exactness.cases import CASES
from tests.processes import run_here


@pytest.fixture
def inspected(train, sources, tmp_path):
    """inspection.json and the rows of norm_sites.csv, by the way that inspect goes, within this process."""

    def run(task, *arguments):
        case = CASES[task]
        settings = [
            *case.arguments(sources[case.data]),
            "--test_after_fit=false",
            "--norm_diagnostics_every_n_steps=null",
        ]
        callback = "--trainer.callbacks+=app.callbacks.InspectModel"
        assert train("fit", case.config, *settings, *arguments, callback) == 0
        (path,) = (tmp_path / "runs").rglob("inspection.json")
        assert not list(path.parent.rglob("*.ckpt"))
        lines = [line.split(",") for line in (path.parent / "norm_sites.csv").read_text().splitlines()]
        return json.loads(path.read_text()), [dict(zip(lines[0], line, strict=False)) for line in lines[1:]]

    return run


@pytest.mark.parametrize("task", CASES)
def test_every_task_can_be_inspected(inspected, task):
    found, sites = inspected(task)
    assert {row["path"] for row in found["sites"]} == {row["path"] for row in sites}
    assert all(row["sigma"] > 0 and row["output"] > 0 for row in found["sites"])
    assert (max(row["gradient_at_output"] for row in found["sites"]) > 0) == (task != "parsing_biaffine")
    assert found["loss"] > 0 and found["size"].split()[1] in ("tokens", "words", "bytes")
    assert [row["path"] for row in found["checks"]] == [row["path"] for row in sites] and not faults_of(found["checks"])
    text = describe(found, sites, "the signature")
    assert f"each of the {len(sites)} norms" in text and all(f" {row['role']}" in text for row in sites)
    assert max(map(len, text.partition("Parameters")[0].splitlines())) < 150
    assert text.startswith("the signature") and "Will this train?" in text
    assert f"{sum(row['count'] for row in found['parameters']):,}" in text


@pytest.mark.parametrize("norm", norm_names())
def test_sizes_are_those_that_the_norm_implies(inspected, norm):
    found, sites = inspected("classification", f"--norm={norm}")
    assert [row["path"] for row in found["sites"]] == [row["path"] for row in sites] and len(sites) == 5
    assert [row["path"] for row in found["blocks"]] == ["encoder.layer.0", "encoder.layer.1"]
    assert found["norm_parameters"] == sum(p.numel() for p in norm_class(norm)(32).parameters()) * 5
    assert found["drawing"] == ["encoder.layer.0-1: x -> attention -> + -> norm -> ffn -> + -> norm"]
    assert not faults_of(found["checks"])
    own = {"layernorm": {True}, "layernorm_scaled": {True, False}}  # the latter in the first block
    assert {row["is_models_own"] for row in found["checks"]} == own.get(norm, {False})
    for row in found["sites"]:
        assert row["gradient_at_output"] > 0 and row["gradient_at_input"] > 0
        if norm == "none":
            assert row["output"] == row["input"] and row["gradient_at_output"] == row["gradient_at_input"]
        if norm == "detachnorm":  # without derivatives, all it does is to divide
            assert 0.5 < row["gradient_at_input"] * row["sigma"] / row["gradient_at_output"] < 2
        if norm in ("layernorm", "layernorm_simple"):
            assert row["output"] == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_the_command_prints_its_text_and_leaves_no_files(tmp_path, monkeypatch, capfd, tiny_texts):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    case = CASES["classification"]
    arguments = ["inspect", "--config", str(ROOT / case.config), *case.arguments(tiny_texts), "--norm", "rmsnorm"]
    with monkeypatch.context() as patch:
        patch.setattr("app.study.inspection.subprocess", SimpleNamespace(run=run_here, PIPE=None))
        assert main([*arguments, f"--data.cache_dir={tmp_path / 'cache'}"]) == 0
    shown = capfd.readouterr().out
    assert shown.startswith("classification|rt|bert-2x32|rmsnorm|sites:all 5/5|seed:1|steps:0\n")
    assert "  encoder.layer.0-1: x -> attention -> + -> norm -> ffn -> + -> norm\n" in shown
    assert "encoder.layer.1.output.LayerNorm" in shown and "Will this train?" in shown and "in norms" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert main([*arguments, "--norm=lyaernorm"]) == 2
    assert "did you mean" in capfd.readouterr().err


def sizes(*rows, loss=1.0):
    blocks = [{"path": f"b{number}", "activation": a, "gradient": g} for number, (a, g) in enumerate(rows)]
    return {"loss": loss, "blocks": blocks, "drawing": [], "sites": [{"path": "n"}], "checks": []}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            sizes((1.0, 1e-3), (1.2, 2e-3)),
            "Nothing speaks against it: all values are finite.*gradient at b0 is 0.5 times that at b1",
        ),
        (sizes((1.0, 1e-9), (1.2, 2e-3)), "Unlikely: the gradient at b0 is 5.0e-07 times"),
        (sizes((1.0, 1e-3), (5e4, 2e-3)), "Unlikely: the activation at b0 is 2.0e-05 times"),
        (sizes((1.0, float("nan")), (1.2, 2e-3)), "No: the loss, an activation or a gradient is not finite"),
        (sizes((1.0, 1.0), loss=float("inf")), "No: the loss"),
        (sizes((1.0, 0.0), (1.0, 0.0)), "Unknown: no gradient reaches"),
    ],
)
def test_the_verdict(found, words):
    import re

    assert re.search(words, verdict(found))


def check(path, **found):
    found = {"is_called": True, "moves_loss": True, "parameters": ["weight"], "options": {"k": [0.2]}} | found
    rest = {"without_gradient": [], "frozen": [], "ignored": [], "untested": [], "is_models_own": False}
    return {"path": path, **rest, **found}


def row(path, **columns):
    rest = {"role": "ffn", "layer": "1", "layers": "2", "stack": "", "old_class": "LayerNorm", "new_norm": "adanorm"}
    return {"path": path, "shape": "8", **rest, **columns}


def test_what_does_nothing_is_named_and_what_is_common_is_said_once():
    found = sizes((1.0, 1.0), (1.0, 1.0)) | {"size": "4 tokens", "checked_on": "2 tokens", "norm_parameters": 0}
    checks = [
        check("a", moves_loss=False, without_gradient=["weight"]),
        check("b", is_called=False),
        check("c", ignored=["k"], untested=["mode"]),
        check("d", without_gradient=["weight"], frozen=["bias"]),
        check("e"),
    ]
    names = ("path", "input", "sigma", "output", "gradient_at_output", "gradient_at_input")
    found |= {"checks": checks, "sites": [dict(zip(names, ("e", 1, 1, 1, 1, 1), strict=True))], "parameters": []}
    sites = [row(name, new_norm="native" if name == "a" else "adanorm") for name in "abcde"]
    text = describe(found, sites, "signature")
    assert "all: before LayerNorm, role ffn, layer 1/2, shape 8\n  path  now      input" in text
    for line in (
        "a     native       -", "e     adanorm      1", "the loss is the same, whatever the norm's output is: a\n",
        "never called by the model: b\n", "option k does nothing (tried 0.2): c\n", "no gradient reaches weight: d\n",
        "option mode not tried, because no other value was found: c", "frozen bias: d",
    ):  # fmt: skip
        assert line in text
    assert "Nothing speaks against it" in text and "But 4 of 5 norms do not act as configured" in text
    found["checks"] = [check(name, is_models_own=True) for name in "abcde"]
    text = describe(found, sites, "signature")
    assert "the loss changes with the output of each of the 5 norms; each of their 5 trainable" in text
    assert "the same as the model's own norm, forward and backward: all 5 norms" in text and "But" not in text
