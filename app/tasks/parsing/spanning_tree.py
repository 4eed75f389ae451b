"""Dependency trees from arc scores: maximum spanning arborescences in which the root has one child."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from ufal.chu_liu_edmonds import chu_liu_edmonds

from app.batches import Batch


def best_trees(scores: Tensor, lengths: Tensor) -> Tensor:
    """Find the tree with the highest sum of arc scores for each sentence; the root has exactly one child.

    The search is the algorithm of Chu and Liu (1965) and Edmonds (1967), which McDonald et al. (2005, "Non-projective
    dependency parsing using spanning tree algorithms") use for parsing. Sums are float64: among trees that differ by
    no more than rounding, the choice is always the same, whatever else is in the batch and however it is padded.

    Args:
        scores: (B, W, W + 1); row w - 1 is for word w, column h for its head: 0 the root, h the h-th word. Scores at
            padding, and of words as their own heads, are not read.
        lengths: (B,) words of each sentence, 1 to W.

    Returns:
        (B, W) int64 heads, `Batch.IGNORED` at padding, on the device of `scores`.

    Raises:
        ValueError: if a score that is read is nan or infinite; use a low finite score for an arc to be avoided.
    """
    exact, counts = scores.detach().cpu().double(), lengths.cpu().unsqueeze(1)
    width = exact.shape[1]
    assert exact.shape[2] == width + 1 and ((counts >= 1) & (counts <= width)).all(), (exact.shape, lengths)
    words, columns = torch.arange(1, width + 1), torch.arange(width + 1)
    real = words <= counts  # (B, W)
    arcs = real.unsqueeze(2) & (columns <= counts).unsqueeze(1) & (columns != words.unsqueeze(1))  # (B, W, W + 1)
    if not exact[arcs].isfinite().all():  # the library skips nan, and returns a cycle if no tree is left
        raise ValueError("scores of arcs must be finite")
    exact = exact.masked_fill(~arcs, -torch.inf)
    heads = exact.argmax(2)  # the first of equals; at padding, where all are equal, 0
    for sentence in (~_are_trees(heads, real)).nonzero().flatten().tolist():  # the others are the best already
        size = int(counts[sentence])
        heads[sentence, :size] = torch.tensor(_best_tree(exact[sentence, :size, : size + 1].numpy()))
    return heads.masked_fill(~real, Batch.IGNORED).to(scores.device)


def _are_trees(heads: Tensor, real: Tensor) -> Tensor:
    """Whether all words (B, W) descend from one child of the root, (B,); heads are 0 at padding."""
    ancestors = F.pad(heads, (1, 0))  # (B, W + 1), the root above itself
    for _ in range(
        heads.shape[1].bit_length()
    ):  # pointer jumping: twice as far up each time, at least W arcs in the end
        ancestors = ancestors.gather(1, ancestors)
    return (ancestors == 0).all(1) & (((heads == 0) & real).sum(1) == 1)


def _best_tree(scores: np.ndarray) -> list[int]:
    """Find the heads of n >= 2 words from (n, n + 1) float64 scores, -inf for a word as its own head.

    Each word is tried as the child of the root. One search with all root scores lowered by a constant would also do,
    but the constant would round away what distinguishes trees, all of it if one arc is ruled out by -1e30. Few words
    need to be tried: a word is skipped if its bound, the best heads of the other words with cycles allowed, is not
    above the best tree so far. Sums are rounded once (fsum), so a bound is never rounded below the tree that it bounds.
    """
    from_root, between = scores[:, 0], scores[:, 1:]
    best = between.max(1)
    bounds = [math.fsum([*best[:word], from_root[word], *best[word + 1 :]]) for word in range(len(scores))]
    arcs = np.full((len(scores) + 1, len(scores) + 1), np.nan)  # nan: no arc
    arcs[1:, 1:] = np.where(np.isinf(between), np.nan, between)
    found, heads = -math.inf, []
    for word in sorted(range(len(scores)), key=bounds.__getitem__, reverse=True):
        if bounds[word] <= found:
            break
        rooted = arcs.copy()
        rooted[word + 1] = np.nan
        rooted[word + 1, 0] = from_root[word]
        tree = chu_liu_edmonds(rooted)[0][1:]
        score = math.fsum(scores[range(len(scores)), tree])
        if score > found:
            found, heads = score, tree
    return heads
