"""Maximum spanning trees: against all head assignments of short sentences, and apart from padding and batch mates."""

import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch

from app.tasks.parsing import spanning_tree
from app.tasks.parsing.spanning_tree import best_trees

IGNORED = -100


def is_tree(heads):
    """Whether every word comes to the root, and one of them at once."""

    def comes_to_root(word):
        for _ in heads:
            word = heads[word - 1] if word else 0
        return word == 0

    return heads.count(0) == 1 and all(map(comes_to_root, range(1, len(heads) + 1)))


@cache
def trees(size):
    """(trees, size) heads: those of all assignments of heads that are trees."""
    return np.array([heads for heads in itertools.product(range(size + 1), repeat=size) if is_tree(heads)])


def score(scores, heads):
    return math.fsum(scores[range(len(heads)), heads])


def best_score(scores):
    every = trees(len(scores))
    near = scores[np.arange(len(scores)), every].sum(1)
    return max(score(scores, heads) for heads in every[near >= near.max() - 1e-6 * np.abs(scores).max()])


def real(random, shape):
    return random.normal(size=shape)


def integer(random, shape):
    return random.integers(-2, 3, shape).astype(float)  # with many trees of the same score


def all_equal(random, shape):
    return np.zeros(shape)


def for_many_roots(random, shape):
    scores = real(random, shape)
    scores[..., 0] += 50
    return scores


def for_no_root(random, shape):
    scores = real(random, shape)
    scores[..., 0] -= 50
    return scores


def with_ruled_out_arcs(random, shape):
    return np.where(random.random(shape) < 0.3, -1e30, real(random, shape))  # lowering all by 1e30 would lose the rest


KINDS = {kind.__name__: kind for kind in (real, integer, all_equal, for_many_roots, for_no_root, with_ruled_out_arcs)}


def draw(kind, size, sentences=60, width=None):
    """(sentences, width, width + 1) scores, nan where they must not be read, and lengths."""
    random = np.random.default_rng([size, *kind.encode()])
    scores = KINDS[kind](random, (sentences, size, size + 1))
    scores[:, range(size), range(1, size + 1)] = np.nan
    width = width or size
    padded = np.full((sentences, width, width + 1), np.nan)
    padded[:, :size, : size + 1] = scores
    return torch.from_numpy(padded), torch.full((sentences,), size)


def test_as_many_trees_as_there_are():
    assert [len(trees(size)) for size in range(1, 6)] == [size ** (size - 1) for size in range(1, 6)]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_no_tree_is_better(kind, size):
    scores, lengths = draw(kind, size)
    for rows, heads in zip(scores.numpy(), best_trees(scores, lengths).tolist(), strict=True):
        assert is_tree(heads)
        assert score(rows, heads) == best_score(np.where(np.isnan(rows), 0.0, rows))


@pytest.mark.parametrize("kind", KINDS)
def test_neither_padding_nor_batch_mates_matter(kind):
    sizes, width = (1, 3, 5, 9, 17), 23
    drawn = [draw(kind, size, sentences=8, width=width) for size in sizes]
    together, lengths = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(0))
    found = best_trees(together[order], lengths[order])
    assert found.shape == (len(sizes) * 8, width)
    filled = best_trees(torch.where(together.isnan(), 1e6, together), lengths)  # a bait instead of nan
    for place, sentence in enumerate(order.tolist()):
        size = int(lengths[sentence])
        (alone,) = best_trees(together[sentence : sentence + 1, :size, : size + 1], lengths[sentence : sentence + 1])
        assert alone.tolist() == found[place, :size].tolist() == filled[sentence, :size].tolist()
        assert is_tree(tuple(alone.tolist()))
        assert (found[place, size:] == IGNORED).all() and (filled[sentence, size:] == IGNORED).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_lower_precision_means_the_numbers_that_it_holds(dtype):
    scores, lengths = draw("real", 12)
    rounded = scores.to(dtype).requires_grad_()
    found = best_trees(rounded, lengths)
    assert found.dtype == torch.int64
    assert torch.equal(found, best_trees(rounded.detach().double(), lengths))


def from_tree(heads):
    """Scores whose best heads, one by one, are these."""
    scores = np.random.default_rng(len(heads)).uniform(size=(1, len(heads), len(heads) + 1))
    scores[0, range(len(heads)), heads] += 2
    return torch.from_numpy(scores), torch.tensor([len(heads)])


CHAINS = {size: [*range(2, size + 1), 0] for size in (2, 3, 4, 31, 32, 33)}


@pytest.mark.parametrize("size", CHAINS)
def test_best_heads_that_are_a_tree_need_no_search(size, monkeypatch):
    monkeypatch.setattr(spanning_tree, "chu_liu_edmonds", None)
    assert best_trees(*from_tree(CHAINS[size])).tolist() == [CHAINS[size]]


@pytest.mark.parametrize("size", CHAINS)
def test_best_heads_that_are_a_cycle_are_broken_up(size):
    scores, lengths = from_tree([*range(2, size + 1), 1])
    scores[0, -1, 0] = 2  # the cheapest place
    assert best_trees(scores, lengths).tolist() == [CHAINS[size]]


def test_a_second_child_of_the_root_goes_elsewhere():
    scores = torch.tensor([[[9.0, 0.0, 1.0], [8.0, 4.0, 0.0]]])
    assert best_trees(scores, torch.tensor([2])).tolist() == [[0, 1]]  # 9 + 4, not 9 + 8


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("arc", [(0, 0), (1, 1), (0, 2)])
def test_scores_that_are_not_finite_are_refused(arc, value):
    scores, lengths = draw("real", 2, sentences=3, width=4)
    scores[1][arc] = value
    with pytest.raises(ValueError, match="finite"):
        best_trees(scores, lengths)


@pytest.mark.parametrize("length", [0, 5])
def test_lengths_must_be_within_the_batch(length):
    with pytest.raises(AssertionError):
        best_trees(torch.zeros(2, 4, 5), torch.tensor([4, length]))
