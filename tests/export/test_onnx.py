"""Runs as ONNX files, whose outputs are torch's; what cannot be done is answered in a line."""

import importlib.util

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from app.errors import InputError
from app.export import onnx_file
from app.export.__main__ import main
from app.norms import build_norm, norm_names
from app.tasks.forward_pass import ForwardPass
from tests.errors.test_input_error import one_answer
from tests.export.test_folder import fit


class EveryNorm(nn.Module):
    """All norms side by side: one export for the whole registry."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(build_norm(name, 8) for name in norm_names())
        with torch.no_grad():
            for norm in self.norms:
                generator = torch.Generator().manual_seed(0)  # another norm in the registry changes nothing here
                for parameter in norm.parameters():
                    parameter.add_(torch.randn(parameter.shape, generator=generator))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(norm(x) for norm in self.norms)


def _rows(rows: int, tokens: int) -> dict[str, Tensor]:
    return {"x": torch.randn(rows, tokens, 8, generator=torch.Generator().manual_seed(1))}


@pytest.mark.slow
def test_every_norm_of_the_registry_can_be_exported(tmp_path):
    whole = ForwardPass(
        EveryNorm().eval(), EveryNorm.forward, _rows(2, 3), _rows(4, 7), {"x": ("batch", "tokens")}, tuple(norm_names())
    )
    assert float(onnx_file.write_forward_pass(whole, tmp_path / "norms.onnx")) < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "norms.onnx", providers=["CPUExecutionProvider"])
    assert [put.shape for put in session.get_inputs()] == [["batch", "tokens", 8]]
    x = _rows(5, 2)["x"]
    for name, norm, got in zip(norm_names(), whole.module.norms, session.run(None, {"x": x.numpy()}), strict=True):
        torch.testing.assert_close(torch.from_numpy(got), norm(x).detach(), rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        pytest.param(
            "classification",
            {"input_ids": ["batch", "tokens"], "attention_mask": ["batch", "tokens"]},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "parsing_mlp",
            {
                "words": ["batch", "words_and_root"], "tags": ["batch", "words_and_root"], "positions": ["states", 18],
                "labels": ["states", 12], "sentence": ["states"],
            },
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_a_run_is_exported_and_compared(name, shapes, tmp_path, sources, capsys):
    small = ["--model.backbone.options.num_hidden_layers=1", "--placement=keel"] if name == "classification" else []
    run = fit(name, "adanorm", tmp_path, sources, *small)
    capsys.readouterr()
    assert main([str(run), "--to", "onnx"]) == 0
    out, err = capsys.readouterr()
    assert "the largest difference of an output is" in out and err == ""
    session = onnxruntime.InferenceSession(run / "model.onnx", providers=["CPUExecutionProvider"])
    assert {put.name: put.shape for put in session.get_inputs()} == shapes
    assert main([str(run), "--to", "onnx"]) == 2
    assert "model.onnx exists" in one_answer(capsys)
    assert not list(run.glob(".*"))


def test_a_missing_package_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main([str(tmp_path), "--to", "onnx"]) == 2
    assert "pip install onnx onnxscript" in one_answer(capsys)


def test_a_place_that_is_not_there_is_answered(tmp_path, capsys):
    assert main([str(tmp_path), "--to", str(tmp_path / "nowhere" / "x.onnx")]) == 2
    assert "there is no folder" in one_answer(capsys)


class Wrong(nn.Module):
    """Cannot be exported, or comes out as something else."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> tuple[Tensor]:
        if self.how == "values decide":
            return (x if x.sum() > 0 else -x,)
        return (x if torch.compiler.is_compiling() else x + 1e-3,)


@pytest.mark.parametrize(
    ("how", "message"), [("values decide", "torch cannot export this model to ONNX"), ("differs", "y differ from")]
)
def test_nothing_is_left_of_what_cannot_be_exported(how, message, tmp_path):
    whole = ForwardPass(Wrong(how), Wrong.forward, _rows(2, 3), _rows(4, 7), {"x": ("batch", "tokens")}, ("y",))
    with pytest.raises(InputError, match=message) as caught:
        onnx_file.write_forward_pass(whole, tmp_path / "x.onnx")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
