"""The benchmark of norms: what it compares, that each computes what it is called, and how ratios are taken."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from app.benchmark.__main__ import main
from app.benchmark.baselines import REFERENCE, baselines
from app.benchmark.norms import compare, saved_bytes
from app.norms import build_norm, norm_names
from tests.norms.cases import draw, leaf


def test_the_table_has_the_whole_registry(capsys):
    threads = torch.get_num_threads()
    try:
        assert main(["norms", "--shapes", "2x3x8", "--threads", "1", "--rounds", "2", "--eager"]) == 0
    finally:
        torch.set_num_threads(threads)
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split(" | ")[2]: line for line in lines if line.startswith("| ")}
    assert {REFERENCE, *norm_names(), "adanorm, plain formula", "adanorm, the authors'"} <= set(rows)
    assert rows["norm"] == "| shape | threads | norm | eager | bytes saved |"
    assert rows[REFERENCE] == f"| 2x3x8 | 1 | {REFERENCE} | 1 (1 to 1) | 1 |"


def test_one_norm_with_its_formulas(capsys):
    assert main(["norms", "--norms", "adanorm", "--shapes", "2x8", "--rounds", "1", "--threads", "1", "--eager"]) == 0
    rows = [line.split(" | ")[2] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert rows[1:] == [REFERENCE, "adanorm", "adanorm, plain formula", "adanorm, the authors'"]


@pytest.mark.parametrize("name", ["layernorm_simple", "detachnorm", "adanorm"])
def test_plain_formulas_are_the_norms(name):
    x, g = leaf(draw(5, 16)), draw(5, 16, seed=2)
    norm, plain = build_norm(name, 16), baselines(16, "cpu")[f"{name}, plain formula"]
    torch.testing.assert_close(plain(x), norm(x))
    torch.testing.assert_close(torch.autograd.grad(plain(x), x, g), torch.autograd.grad(norm(x), x, g))


def test_the_authors_formulas_by_hand():
    x = torch.tensor([[1.0, 2.0, 3.0, 6.0]], dtype=torch.float64, requires_grad=True)
    sigma = (14 / 3) ** 0.5 + 1e-5  # sample deviation: squares 4 1 0 9 over 3, eps outside
    y = torch.tensor([[-2.0, -1.0, 0.0, 3.0]], dtype=torch.float64) / sigma
    rivals = baselines(4, "cpu")
    torch.testing.assert_close(rivals["adanorm, the authors'"](x), y * (1 - 0.1 * y))
    torch.testing.assert_close(rivals["detachnorm, the authors'"](x), y)
    (gradient,) = torch.autograd.grad(rivals["detachnorm, the authors'"](x).sum(), x)
    torch.testing.assert_close(gradient, torch.full_like(x, 1 / sigma))


def test_a_ratio_is_taken_within_its_round(monkeypatch):
    now, turns = [0.0], [0]

    def takes(seconds):
        def turn():
            turns[0] += 1
            slow = max(1, turns[0] // 2 - 2)  # the machine slows down from round to round: there are two turns in each
            now[0] += seconds * slow

        return turn

    monkeypatch.setattr("app.benchmark.norms.time.perf_counter", lambda: now[0])
    found = compare({"one": takes(1), "two": takes(2)}, "one", rounds=5)  # behind five turns to find how many repeats
    assert (found["one"].median, found["two"].median) == (1, 2)
    assert (found["two"].low, found["two"].high) == (2, 2)


class Doubled(nn.Module):
    def forward(self, x):
        return (x * x.exp()).square()  # keeps x, exp(x) (twice) and their product


def test_saved_bytes_count_each_storage_once_and_no_parameter():
    x = torch.ones(4, 8, requires_grad=True)
    assert saved_bytes(Doubled(), x) == 3 * 4 * 8 * 4
    linear = nn.Linear(8, 8)
    assert saved_bytes(linear, x) == 4 * 8 * 4
    assert saved_bytes(build_norm("layernorm", 8), x) == 4 * 8 * 4 + 2 * 4 * 4  # x, mu and 1 / sigma


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_a_line_says_so(capsys):
    assert main(["norms", "--device", "cuda"]) == 2
    assert "--device is cuda, and torch finds no GPU here" in capsys.readouterr().err


def test_layer_norm_is_the_reference():
    x = draw(3, 8)
    torch.testing.assert_close(baselines(8, "cpu")[REFERENCE].double()(x), F.layer_norm(x, (8,)))
