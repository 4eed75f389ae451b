"""The arc-standard transition system (Nivre, 2004), for a whole batch of sentences at a time.

Word 0 is the root, which is at the bottom of the stack from the start; words 1 to n are the sentence, and n words take
exactly 2 n transitions. With R relations an action is 0 for SHIFT, 1 to R for LEFT (the arc s1 -> s2, which pops s2)
and R + 1 to 2 R for RIGHT (s2 -> s1, which pops s1); s1 is the top of the stack, s2 the word below it, b1 the first
word of the buffer.

The tensors are so small that the time of a step is the number of its operations. A plain form, with a tensor each for
stack, heads, relations and children, needs about thirty per step and takes twice as long (2.0 to 2.2 times for batches
of 32 and 64 sentences of 20 to 40 words). So a step reads and writes two rows per sentence, whatever its action is:

    memory, one row of int64 per sentence; W is the width, `none` = W + 1 the word that is not there

      offset   0        3        6        9        12          fields[0]    fields[1]    fields[2]    fields[3]
              +--------+--------+--------+--------+-- ... ----+------------+------------+------------+------------+
              | empty  | empty  | root   | item   | item  ... | _HEAD      | _INNER     | _OUTER     | _RELATION  |
              +--------+--------+--------+--------+-- ... ----+------------+------------+------------+------------+
               the stack, grows to the right; TOP is the       one place for each word 0 .. W, and one for `none`;
               offset of its last item                         written once, when the word is popped

      item     word, its leftmost child so far, its rightmost child so far
      _INNER   the child that was its head's outermost on the same side before it: the second leftmost child of a
               head is the _INNER of its leftmost child
      _OUTER   the word's own outermost child on the side of its head that it is on

    window, what a step reads of the memory: one row of ten columns per sentence

      _S1 _S2 _S3   _S1_LEFTMOST _S1_RIGHTMOST _S2_LEFTMOST _S2_RIGHTMOST   _FRONT   _TOP   _NONE
      words         children of the two top words                           b1       TOP    `none`, always

    effects, one row per action: which column of the window, plus which number, gives each of

      7 places to write to | 7 values for them | the next _FRONT, _TOP and _NONE
      (3 of an item, 1 of each field)

`apply` looks up the row of each action, gathers columns of the window, adds, scatters the values into the memory, and
gathers the next window from it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from app.batches import Batch

Score = Callable[[Tensor, Tensor, Tensor], Tensor]
WORD_SLOTS, LABEL_SLOTS = 18, 12  # of the template that describes a state, see TransitionState.features
_SHIFT, _LEFT, _RIGHT, _NOOP = range(4)  # kinds of actions; the last is for a sentence with nothing left to do

_S1, _S2, _S3, _S1_LEFTMOST, _S1_RIGHTMOST, _S2_LEFTMOST, _S2_RIGHTMOST, _FRONT, _TOP, _NONE = range(10)  # window
_ITEM = 3
_FIELDS = _HEAD, _INNER, _OUTER, _RELATION = range(4)
_WRITES = _ITEM + len(_FIELDS)  # of an action
_BELOW_ROOT = 2  # empty items, so that s2 and s3 can always be read


class _Effect(NamedTuple):
    """What a kind of action does to a sentence; all but the two numbers are columns of the window."""

    moves: int  # items that the top moves up
    takes: int  # words taken from the buffer
    top: tuple[int, int, int]  # the item on top afterwards
    popped: int  # the word that is popped
    fields: tuple[int, int, int]  # its _HEAD, _INNER and _OUTER


# A new arc's dependent is farther out than the head's other children on its side: those were between the two.
_EFFECTS = (  # in the order of the kinds
    _Effect(1, 1, (_FRONT, _NONE, _NONE), _NONE, (_NONE, _NONE, _NONE)),
    _Effect(-1, 0, (_S1, _S2, _S1_RIGHTMOST), _S2, (_S1, _S1_LEFTMOST, _S2_LEFTMOST)),
    _Effect(-1, 0, (_S2, _S2_LEFTMOST, _S1), _S1, (_S2, _S2_RIGHTMOST, _S1_RIGHTMOST)),
    _Effect(0, 0, (_S1, _S1_LEFTMOST, _S1_RIGHTMOST), _NONE, (_NONE, _NONE, _NONE)),
)


class _Layout:
    """Offsets into the memory of a sentence of up to W words, as tensors to index by."""

    def __init__(self, width: int, num_relations: int, device: torch.device) -> None:
        self.none = none = width + 1
        self.root = _ITEM * _BELOW_ROOT
        items = _ITEM * (_BELOW_ROOT + 1 + width)
        self.fields = [items + field * (width + 2) for field in _FIELDS]
        self.size = items + len(_FIELDS) * (width + 2)

        tensor = partial(torch.tensor, device=device)
        self.top_items = tensor([0, -_ITEM, -2 * _ITEM, 1, 2, 1 - _ITEM, 2 - _ITEM])  # (7,), as the window has them
        self.of_children = tensor([[self.fields[_INNER]], [self.fields[_OUTER]]])  # (2, 1)
        self.next_words = torch.arange(3, device=device)
        self.kinds = tensor([_SHIFT] + num_relations * [_LEFT] + num_relations * [_RIGHT] + [_NOOP])  # (2 R + 2,)

        columns, summands = [], []  # of places, values and registers
        for effect in _EFFECTS:
            places, fields = [_TOP] * _ITEM + [effect.popped] * len(_FIELDS), [*effect.fields, _NONE]
            columns.append([*places, *effect.top, *fields, _FRONT, _TOP, _NONE])
            offsets = [_ITEM * effect.moves + part for part in range(_ITEM)] + self.fields
            summands.append([*offsets, *[0] * (_WRITES - 1), -1 - none, effect.takes, _ITEM * effect.moves, 0])
        self.effects = tensor([columns, summands]).transpose(0, 1)[self.kinds]  # (2 R + 2, 2, 17)
        relations = torch.arange(num_relations, device=device).repeat(2)  # (2 R,)
        self.effects[1:-1, 1, 2 * _WRITES - 1] = relations - none  # plus none, this is the relation


class TransitionState:
    """The stacks, buffers and arcs of B sentences; made by `start`. No transition waits for the device."""

    def __init__(self, layout: _Layout, ends: Tensor, memory: Tensor, window: Tensor) -> None:
        self.layout = layout
        self.window = window  # (B, 10)
        self._ends = ends  # (B, 2), _FRONT of an empty buffer and _TOP of a stack with the root alone
        self._memory = memory  # (B, layout.size)

    @classmethod
    def start(cls, lengths: Tensor, width: int, num_relations: int) -> TransitionState:
        """The initial state: all words are in the buffer, the root is on the stack.

        Args:
            lengths: (B,) int64, words of each sentence.
            width: W, the number of words of the longest sentence, known without asking the device.
            num_relations: R, at least 1.
        """
        layout = _Layout(width, num_relations, lengths.device)
        memory = lengths.new_full((len(lengths), layout.size), layout.none)  # (B, size)
        memory[:, layout.fields[_RELATION] :] = -1
        memory[:, layout.root] = 0
        window = lengths.new_full((len(lengths), 10), layout.none)  # (B, 10)
        window[:, _S1], window[:, _FRONT], window[:, _TOP] = 0, 1, layout.root
        ends = torch.stack([lengths + 1, window[:, _TOP]], 1)  # (B, 2)
        return cls(layout, ends, memory, window)

    def first(self, count: int) -> TransitionState:
        """A view of the first `count` sentences: its new arcs are in this state too."""
        return TransitionState(self.layout, self._ends[:count], self._memory[:count], self.window[:count])

    @property
    def heads(self) -> Tensor:
        """The head of every word, (B, W + 1); -1 where it has none yet."""
        return self._words(self._field(_HEAD))

    @property
    def relations(self) -> Tensor:
        """The relation of every word to its head, (B, W + 1), 0 to R - 1; -1 where it has no head yet."""
        return self._field(_RELATION)

    @property
    def done(self) -> Tensor:
        """Whether only the root is left, (B,) bool."""
        return (self._registers() == self._ends).all(1)

    def allowed(self) -> Tensor:
        """Whether a sentence may SHIFT, LEFT and RIGHT, (B, 3) bool.

        The root takes its dependent last, when the buffer is empty, so it has only one: whatever the actions, the arcs
        form a tree, and each sentence that is not done has an allowed action.
        """
        taken, above_root = (self._registers() - self._ends).unbind(1)  # (B,) each, up to 0 and from 0
        shift, left = taken < 0, above_root > _ITEM  # (B,) each
        return torch.stack([shift, left, left | (~shift & (above_root > 0))], 1)

    def apply(self, action: Tensor) -> None:
        """Make one transition in every sentence, in place.

        Args:
            action: (B,) int64, 0 to 2 R, each allowed. Nothing happens to a sentence that is done, or at a SHIFT with
                an empty buffer.
        """
        empty, lone = (self._registers() == self._ends).unbind(1)  # (B,) each
        is_noop = torch.where(action > 0, lone, empty)  # (B,)
        row = action.masked_fill(is_noop, len(self.layout.effects) - 1)  # (B,), the last row is that of _NOOP
        columns, summands = self.layout.effects.index_select(0, row).unbind(1)  # (B, 17) each
        places, values, registers = (self.window.gather(1, columns) + summands).split([_WRITES, _WRITES, 3], 1)
        self._memory.scatter_(1, places, values)
        items = self._memory.gather(1, registers[:, 1:2] + self.layout.top_items)  # (B, 7)
        self.window = torch.cat([items, registers], 1)

    def features(self) -> tuple[Tensor, Tensor]:
        """What a classifier sees of each sentence (Chen and Manning, 2014).

        Returns:
            (B, 18) int64, words, -1 where there is none: s1 s2 s3 b1 b2 b3, then of s1 its leftmost and its rightmost
            child, the second leftmost and the second rightmost, the leftmost of the leftmost and the rightmost of the
            rightmost, then the same of s2. Left children come before their head, right children after it.
            (B, 12) int64, relations of the twelve children to their heads, 0 to R - 1, -1 where there is none.
        """
        return self.features_at(self.window, torch.arange(len(self.window), device=self.window.device))

    def features_at(self, window: Tensor, sentence: Tensor) -> tuple[Tensor, Tensor]:
        """The features of N earlier states of these sentences: what is known of popped words has not changed since.

        Args:
            window: (N, 10), `window` as it was then.
            sentence: (N,) int64, the row of the sentence of each.
        """
        memory = self._memory.view(-1)
        row = sentence.unsqueeze(1) * self.layout.size  # (N, 1), where a sentence's memory begins
        buffer = window[:, _FRONT, None] + self.layout.next_words  # (N, 3)
        buffer = buffer.masked_fill(buffer >= self._ends[sentence, :1], self.layout.none)
        outermost = window[:, _S1_LEFTMOST : _S2_RIGHTMOST + 1].reshape(-1, 2, 1, 2)  # (N, s1 or s2, 1, left or right)
        further = memory.take(outermost + self.layout.of_children + row.view(-1, 1, 1, 1))  # (N, 2, 2, 2)
        children = torch.cat([outermost, further], 2).view(-1, 12)
        relations = memory.take(children + (row + self.layout.fields[_RELATION]))  # (N, 12)
        return self._words(torch.cat([window[:, : _S3 + 1], buffer, children], 1)), relations

    def _registers(self) -> Tensor:
        return self.window[:, _FRONT : _TOP + 1]  # (B, 2)

    def _field(self, field: int) -> Tensor:
        begin = self.layout.fields[field]
        return self._memory[:, begin : begin + self.layout.none]  # (B, W + 1)

    def _words(self, words: Tensor) -> Tensor:
        return words.masked_fill(words == self.layout.none, -1)


class StaticOracle:
    """The one action that leads to a projective gold tree from every state on the way to it.

    LEFT if the gold tree has s1 -> s2, else RIGHT if it has s2 -> s1 and s1 has all its children, else SHIFT.

    A LEFT need not look at the children of s2. Those on its right are between s2 and s1, where all words have been
    popped. Those on its left were popped while it was on top: only its own subtree is between them and it, and arcs
    go before a SHIFT. So before a RIGHT s1 has all its left children too, and the right ones if the buffer holds none
    of them. The arguments are those of `replay`.
    """

    def __init__(self, heads: Tensor, relations: Tensor, lengths: Tensor, num_relations: int) -> None:
        batch, width = heads.shape
        none = width + 1
        words = torch.arange(none + 1, device=heads.device)  # (W + 2,), the root, the words and none
        gold = heads.new_full((4, batch, none + 1), -1)  # (4, B, W + 2): head, last child, RIGHT, LEFT
        real = words[1:none] <= lengths.unsqueeze(1)  # (B, W)
        self.heads = heads.masked_fill(~real, none)  # (B, W)
        gold[0, :, 1:none] = self.heads
        gold[1].scatter_reduce_(1, self.heads, words[1:none].expand(batch, -1), "amax")
        gold[2, :, 1:none] = 1 + num_relations + relations  # if the word is s1
        gold[3, :, 1:none] = 1 + relations  # if it is s2
        self._gold = gold.transpose(0, 1).reshape(batch, -1)  # (B, 4 (W + 2))
        fields = [[0, 0], [1, 1], [2, 3]]  # of s1 and s2
        self._fields = torch.tensor(fields, device=heads.device) * (none + 1)  # (3, 2)

    def action(self, state: TransitionState) -> Tensor:
        """The action of each sentence, (B,) int64, 0 to 2 R; 0 where a sentence is done."""
        words = state.window[:, _S1 : _S2 + 1]  # (B, 2)
        gold = self._gold.gather(1, (words.unsqueeze(1) + self._fields).view(-1, 6))  # (B, 6)
        head, last_child, arc = gold.view(-1, 3, 2).unbind(1)  # (B, 2) each
        fits = (head == words.flip(1)) & (last_child < state.window[:, _FRONT, None])  # (B, 2)
        return (fits * arc).amax(1)  # RIGHT or LEFT: both fit in no tree, and the last child of a LEFT is never to come


class OracleStates(NamedTuple):
    """The N states on the way to gold trees, 2 per word: sentence after sentence, in the order of the transitions."""

    positions: Tensor  # (N, 18), see TransitionState.features
    labels: Tensor  # (N, 12)
    sentence: Tensor  # (N,), row of the batch
    actions: Tensor  # (N,), 0 to 2 R


def replay(heads: Tensor, relations: Tensor, lengths: Tensor, num_relations: int) -> OracleStates:
    """Return all states on the way to gold trees, each with the action that the static oracle takes there.

    Args:
        heads: (B, W) int64, 0 for the root: projective trees in which the root has one child; anything at padding.
        relations: (B, W) int64, 0 to R - 1; anything at padding.
        lengths: (B,) int64, words of each sentence.
        num_relations: R.

    Raises:
        AssertionError: if a sentence has another tree.
    """
    oracle = StaticOracle(heads, relations, lengths, num_relations)
    windows, actions = [], []
    with torch.inference_mode():  # saves a quarter of the time of such small operations; results are made outside
        state = TransitionState.start(lengths, heads.shape[1], num_relations)
        for _ in range(2 * heads.shape[1]):
            windows.append(state.window)
            actions.append(oracle.action(state))
            state.apply(actions[-1])
    built = state.done & ((oracle.heads == 0).sum(1) == 1)  # (B,); only gold arcs were added, n of them if done
    rows = (~built).nonzero().flatten().tolist()
    assert not rows, f"rows {rows}: only projective trees with one child of the root can be reached by transitions"
    steps = torch.arange(len(windows), device=heads.device)
    sentence, step = (steps < 2 * lengths.unsqueeze(1)).nonzero(as_tuple=True)  # (N,) each
    features = state.features_at(torch.stack(windows)[step, sentence], sentence)
    return OracleStates(*features, sentence, torch.stack(actions)[step, sentence])


def decode(score: Score, lengths: Tensor, num_relations: int) -> tuple[Tensor, Tensor]:
    """Parse by greedy search: each sentence takes the best allowed action until it is done.

    Args:
        score: from (B', 18) words, (B', 12) relations and (B',) rows of the batch to (B', 2 R + 1) scores of actions,
            for the sentences that are not done yet.
        lengths: (B,) int64, words of each sentence.
        num_relations: R.

    Returns:
        (B, W) heads, 0 to W, and (B, W) relations, 0 to R - 1, of words 1 to W; -100 at padding.
    """
    sizes, order = lengths.sort(descending=True, stable=True)  # sentences that are not done come first
    size_list = sizes.tolist()  # the only wait for the device
    width, alive = size_list[0], len(size_list)
    everything = state = TransitionState.start(sizes, width, num_relations)
    kinds = state.layout.kinds[:-1]
    for step in range(2 * width):
        while 2 * size_list[alive - 1] <= step:
            alive -= 1
        if alive < len(state.window):
            state = state.first(alive)
        scores = score(*state.features(), order[:alive])  # (B', 2 R + 1)
        allowed = state.allowed().index_select(1, kinds)  # (B', 2 R + 1)
        state.apply(scores.masked_fill(~allowed, -torch.inf).argmax(1))
    padding = torch.arange(1, width + 1, device=lengths.device) > lengths.unsqueeze(1)  # (B, W)
    arcs = torch.stack([everything.heads, everything.relations])[:, order.argsort(), 1:]  # (2, B, W)
    return tuple(arcs.masked_fill(padding, Batch.IGNORED))
