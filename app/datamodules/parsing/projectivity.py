"""Projective dependency trees, whose arcs do not cross if drawn above the sentence, and how to make trees projective.

A tree is given by the heads of words 1 to W in their order, 0 for the root, which is before the first word.
"""

from __future__ import annotations

from collections.abc import Sequence


def is_projective(heads: Sequence[int]) -> bool:
    """Whether no two arcs of a tree cross, including those of the root, in O(W log W).

    For a tree this means that the head of every arc dominates all words between head and dependent.
    """
    ends: list[int] = []  # right ends of the arcs over the current position, innermost last
    for left, minus_right in sorted((min(arc), -max(arc)) for arc in enumerate(heads, start=1)):
        while ends and ends[-1] <= left:
            ends.pop()
        if ends and ends[-1] < -minus_right:
            return False
        ends.append(-minus_right)
    return True


def projectivize(heads: Sequence[int]) -> list[int]:
    """Lift the non-projective arcs of a tree, one by one, until it is projective.

    Each step takes the shortest non-projective arc, in a tie that of the leftmost dependent, and attaches its dependent
    to the head of its head: Nivre and Nilsson (2005), "Pseudo-projective dependency parsing", without their encoding
    of lifts in labels. If the root has one child, it keeps this one and gets no other.

    Args:
        heads: the heads of a tree; with a cycle this would not end.
    """
    lifted = list(heads)
    while not is_projective(lifted):
        non_projective = [word for word in range(1, len(lifted) + 1) if not _is_arc_projective(lifted, word)]
        word = min(non_projective, key=lambda word: abs(lifted[word - 1] - word))  # the first one in a tie
        lifted[word - 1] = lifted[lifted[word - 1] - 1]
    return lifted


def _is_arc_projective(heads: Sequence[int], word: int) -> bool:
    """Whether a word's head dominates all words between the two."""
    first, last = sorted((word, heads[word - 1]))
    return all(_dominates(heads, heads[word - 1], between) for between in range(first + 1, last))


def _dominates(heads: Sequence[int], ancestor: int, word: int) -> bool:
    while word not in (0, ancestor):
        word = heads[word - 1]
    return word == ancestor
