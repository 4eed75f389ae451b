"""Counts for the attachment scores of dependency trees."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Attachments(NamedTuple):
    """What a parser got right in a batch of trees; False at padding.

    Attributes:
        heads: (B, W) bool, words with the right head.
        labelled: (B, W) bool, words with the right head and relation.
        trees: (B,) bool, sentences whose words all have the right head.
        labelled_trees: (B,) bool, sentences whose words all have the right head and relation.
    """

    heads: Tensor
    labelled: Tensor
    trees: Tensor
    labelled_trees: Tensor


def attachments(
    heads: Tensor, relations: Tensor, right_heads: Tensor, right_relations: Tensor, is_word: Tensor
) -> Attachments:
    """Compare trees word by word; all arguments are (B, W)."""
    same = (heads == right_heads) & is_word
    labelled = same & (relations == right_relations)
    return Attachments(same, labelled, (same | ~is_word).all(1), (labelled | ~is_word).all(1))


def heads_of_next(lengths: Tensor, width: int) -> Tensor:
    """Return the heads of a baseline, (B, W): each word is attached to the next one, the last to the root.

    Args:
        lengths: (B,) words of each sentence.
        width: W.
    """
    following = torch.arange(2, width + 2, device=lengths.device)
    return following.where(following <= lengths.unsqueeze(1), 0)
