"""The transition system against a parser of lists and dictionaries, which goes through one sentence at a time."""

import itertools

import numpy as np
import pytest
import torch

from app.tasks.parsing.arc_standard import StaticOracle, TransitionState, decode, replay


class Parser:
    """Arc-standard as the papers put it."""

    def __init__(self, length, num_relations):
        self.stack, self.buffer, self.arcs = [0], list(range(1, length + 1)), {}  # dependent: (head, relation)
        self.num_relations = num_relations

    @property
    def done(self):
        return not self.buffer and self.stack == [0]

    def allowed(self):
        left = len(self.stack) > 2  # s2 is not the root
        return [bool(self.buffer), left, left or (len(self.stack) == 2 and not self.buffer)]

    def actions(self):
        """Ids of all labelled actions allowed."""
        relations = self.num_relations
        ids = [[0], range(1, relations + 1), range(relations + 1, 2 * relations + 1)]
        return [action for some, may in zip(ids, self.allowed(), strict=True) if may for action in some]

    def apply(self, action):
        assert action in self.actions()
        if action == 0:
            self.stack.append(self.buffer.pop(0))
        elif action <= self.num_relations:
            self.arcs[self.stack.pop(-2)] = (self.stack[-1], action - 1)
        else:
            dependent = self.stack.pop()
            self.arcs[dependent] = (self.stack[-1], action - 1 - self.num_relations)

    def children(self, head):
        """Left and right children, the outermost first, then -1."""
        own = sorted(dependent for dependent, (of, _) in self.arcs.items() if of == head and head >= 0)
        left, right = [c for c in own if c < head], [c for c in reversed(own) if c > head]
        return [*left, -1, -1], [*right, -1, -1]

    def features(self):
        stack, buffer = [*reversed(self.stack), -1, -1], [*self.buffer, -1, -1, -1]
        children = []
        for word in stack[:2]:
            (lc1, lc2, *_), (rc1, rc2, *_) = self.children(word)
            children += [lc1, rc1, lc2, rc2, self.children(lc1)[0][0], self.children(rc1)[1][0]]
        return [*stack[:3], *buffer[:3], *children], [self.arcs[c][1] if c >= 0 else -1 for c in children]

    def tree(self):
        """Heads and relations of words 1 to n."""
        heads, relations = zip(*(self.arcs[word] for word in sorted(self.arcs)), strict=True)
        return list(heads), list(relations)


def is_projective_tree(heads):
    """Whether heads of words 1 to n are a projective tree with one child of the root."""
    parent = [0, *heads]

    def ancestors(word):
        above = []
        while word and len(above) <= len(heads):
            above.append(word := parent[word])
        return above

    arcs = [(min(pair), max(pair)) for pair in enumerate(parent) if pair[0]]
    crossing = any(a < c < b < d for (a, b), (c, d) in itertools.permutations(arcs, 2))
    return heads.count(0) == 1 and not crossing and all(ancestors(word)[-1] == 0 for word in range(1, len(parent)))


def all_heads(length):
    return map(list, itertools.product(range(length + 1), repeat=length))


def random_heads(rng, length):
    """Any projective tree: a word of a span is the head of spans that the rest is cut into."""
    heads = [0] * (length + 1)

    def attach(begin, end, head):
        top = int(rng.integers(begin, end))
        heads[top] = head
        for part, behind in ((begin, top), (top + 1, end)):
            while part < behind:
                cut = int(rng.integers(part + 1, behind + 1))
                attach(part, cut, top)
                part = cut

    attach(1, length + 1, 0)
    return heads[1:]


def padded(rows, rng, extra=0):
    """Anything at the padding."""
    width = max(map(len, rows)) + extra
    return torch.tensor([[*row, *rng.choice([-100, 0, 1], width - len(row)).tolist()] for row in rows])


def treebank(seed, sizes, num_relations, extra=0):
    """Random trees as lists, and as the arguments of `replay`."""
    rng = np.random.default_rng(seed)
    heads = [random_heads(rng, size) for size in sizes]
    relations = [rng.integers(num_relations, size=size).tolist() for size in sizes]
    lengths = torch.tensor(sizes)
    return heads, relations, (padded(heads, rng, extra), padded(relations, rng, extra), lengths, num_relations)


def check_replay(heads, relations, result, num_relations):
    """The plain parser goes through the same states by the actions, and ends with the trees."""
    states = zip(*(field.tolist() for field in result), strict=True)
    for row, (gold, labels) in enumerate(zip(heads, relations, strict=True)):
        parser = Parser(len(gold), num_relations)
        for _ in range(2 * len(gold)):
            positions, of_children, sentence, action = next(states)
            assert (positions, of_children, sentence) == (*parser.features(), row)
            if 0 < action <= num_relations:
                popped = parser.stack[-2]
                assert all(child in parser.arcs for child, head in enumerate(gold, 1) if head == popped)
            parser.apply(action)
        assert parser.done
        assert parser.tree() == (gold, labels)
    assert next(states, None) is None


def scorer(num_relations, seed=0, of_row=0):
    """Whole numbers, so that no sum depends on its order; seldom two alike."""
    rng = np.random.default_rng(seed)
    weights, offsets = (torch.from_numpy(rng.integers(-(2**40), 2**40, (n, 2 * num_relations + 1))) for n in (30, 100))

    def score(positions, labels, rows):
        hidden = (torch.cat([positions, labels], 1).unsqueeze(2) * weights).sum(1)
        return ((hidden + offsets[rows + of_row]) % 999_983).double()

    return score


SIZES = [3, 1, 14, 2, 1, 25, 14, 6, 9, 4, 25, 5]


@pytest.mark.parametrize("num_relations", [1, 2, 7])
@pytest.mark.parametrize("seed", [0, 1, None], ids=["seed 0", "seed 1", "shifts first"])
def test_allowed_actions_go_as_in_a_plain_parser(seed, num_relations):
    rng = np.random.default_rng(seed)
    parsers = [Parser(size, num_relations) for size in SIZES]
    state = TransitionState.start(torch.tensor(SIZES), max(SIZES), num_relations)
    for step in range(2 * max(SIZES) + 2):
        assert state.done.tolist() == [parser.done for parser in parsers] == [step >= 2 * size for size in SIZES]
        assert state.allowed().tolist() == [parser.allowed() for parser in parsers]
        positions, labels = state.features()
        assert list(zip(positions.tolist(), labels.tolist(), strict=True)) == [parser.features() for parser in parsers]
        for row, parser in enumerate(parsers):
            arcs = [parser.arcs.get(word, (-1, -1)) for word in range(max(SIZES) + 1)]
            assert list(zip(state.heads[row].tolist(), state.relations[row].tolist(), strict=True)) == arcs
        anything = range(2 * num_relations + 1)  # for a sentence that is done
        choices = [list(anything if parser.done else parser.actions()) for parser in parsers]
        actions = [some[0] if seed is None and step < max(SIZES) else int(rng.choice(some)) for some in choices]
        for parser, action in zip(parsers, actions, strict=True):
            if not parser.done:
                parser.apply(action)
        state.apply(torch.tensor(actions))


def test_a_shift_with_an_empty_buffer_does_nothing():
    state = TransitionState.start(torch.tensor([2]), 3, 1)
    for action in (0, 0, 1):
        state.apply(torch.tensor([action]))
    before = [*state.features(), state.heads.clone()]
    state.apply(torch.tensor([0]))
    assert all(map(torch.equal, before, [*state.features(), state.heads]))
    assert not state.done


def test_every_projective_tree_has_its_transitions():
    heads = [heads for size in range(1, 6) for heads in all_heads(size) if is_projective_tree(heads)]
    assert len(heads) == 1 + 2 + 7 + 30 + 143  # OEIS A006013
    rng = np.random.default_rng(0)
    relations = [rng.integers(3, size=len(row)).tolist() for row in heads]
    lengths = torch.tensor([len(row) for row in heads])
    check_replay(heads, relations, replay(padded(heads, rng), padded(relations, rng), lengths, 3), 3)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_what_is_no_projective_tree_is_refused(size):
    for heads in all_heads(size):
        if not is_projective_tree(heads):
            rows = torch.tensor([[*heads, 0], [0, *range(1, size + 1)]])
            with pytest.raises(AssertionError, match=r"rows \[0\]"):
                replay(rows, torch.ones_like(rows), torch.tensor([size, size + 1]), 2)


@pytest.mark.parametrize("sizes", [SIZES, [1, 1], [40]], ids=["many", "lengths of 1", "long"])
@pytest.mark.parametrize("num_relations", [1, 5])
def test_replay_goes_through_the_states_of_a_plain_parser(num_relations, sizes):
    for seed in range(3):
        heads, relations, arguments = treebank(seed, sizes, num_relations)
        check_replay(heads, relations, replay(*arguments), num_relations)


def test_replay_of_a_sentence_depends_on_nothing_beside_it():
    heads, relations, arguments = treebank(4, SIZES, 5, extra=3)
    together = replay(*arguments)
    for row, size in enumerate(SIZES):
        alone = replay(torch.tensor([heads[row]]), torch.tensor([relations[row]]), torch.tensor([size]), 5)
        own = together.sentence == row
        for name in ("positions", "labels", "actions"):
            assert torch.equal(getattr(together, name)[own], getattr(alone, name))


def test_what_replay_gives_can_be_trained_on():
    _, _, arguments = treebank(0, [3, 2], 2)
    states = replay(*arguments)
    embedding = torch.nn.Embedding(5, 5)
    scores = embedding(states.positions + 1).sum(1) + embedding(states.labels + 1).sum(1)
    torch.nn.functional.cross_entropy(scores, states.actions).backward()
    assert embedding.weight.grad.any()


def test_scores_that_follow_the_oracle_decode_to_the_gold_trees():
    heads, relations, arguments = treebank(5, SIZES, 4)
    known = replay(*arguments)
    fields = (known.sentence.unsqueeze(1), known.positions, known.labels)
    actions = dict(zip(map(tuple, torch.cat(fields, 1).tolist()), known.actions.tolist(), strict=True))

    def score(positions, labels, rows):
        states = torch.cat([rows.unsqueeze(1), positions, labels], 1).tolist()
        return torch.nn.functional.one_hot(torch.tensor([actions[tuple(state)] for state in states]), 9).float()

    found_heads, found_relations = decode(score, torch.tensor(SIZES), 4)
    assert [row[:size] for row, size in zip(found_heads.tolist(), SIZES, strict=True)] == heads
    assert [row[:size] for row, size in zip(found_relations.tolist(), SIZES, strict=True)] == relations


@pytest.mark.parametrize("num_relations", [1, 3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_decode_is_greedy_search_by_a_plain_parser(seed, num_relations):
    score = scorer(num_relations, seed)
    heads, relations = decode(score, torch.tensor(SIZES), num_relations)
    assert heads.shape == relations.shape == (len(SIZES), max(SIZES))
    for row, size in enumerate(SIZES):
        parser = Parser(size, num_relations)
        for _ in range(2 * size):
            positions, labels = (torch.tensor([feature]) for feature in parser.features())
            scores = score(positions, labels, torch.tensor([row]))[0]
            parser.apply(max(parser.actions(), key=lambda action: float(scores[action])))
        assert (heads[row, :size].tolist(), relations[row, :size].tolist()) == parser.tree()
        assert is_projective_tree(heads[row, :size].tolist())
        assert (heads[row, size:] == -100).all() and (relations[row, size:] == -100).all()


def test_decoding_a_sentence_depends_on_nothing_beside_it():
    heads, relations = decode(scorer(3), torch.tensor(SIZES), 3)
    for row, size in enumerate(SIZES):
        alone = decode(scorer(3, of_row=row), torch.tensor([size]), 3)
        assert torch.equal(heads[row : row + 1, :size], alone[0])
        assert torch.equal(relations[row : row + 1, :size], alone[1])


def test_only_sentences_that_are_not_done_are_scored():
    seen, score = [], scorer(2)
    decode(lambda *state: seen.append(sorted(state[2].tolist())) or score(*state), torch.tensor(SIZES), 2)
    assert seen == [[row for row, size in enumerate(SIZES) if step < 2 * size] for step in range(2 * max(SIZES))]


def test_scores_of_what_is_not_allowed_count_for_nothing():
    def score(positions, labels, rows):
        return torch.where(positions[:, 3:4] < 0, torch.tensor([torch.nan, -2.0, -3.0]), torch.tensor([-9.0, 5, 5]))

    heads, relations = decode(score, torch.tensor([1, 4]), 1)
    assert heads.tolist() == [[0, -100, -100, -100], [2, 3, 4, 0]]
    assert relations.tolist() == [[0, -100, -100, -100], [0, 0, 0, 0]]


def test_the_oracle_has_nothing_to_say_when_all_is_done():
    _, _, arguments = treebank(0, [1, 3], 2)
    oracle, state = StaticOracle(*arguments), TransitionState.start(arguments[2], 3, 2)
    for _ in range(2):
        state.apply(oracle.action(state))
    assert state.done.tolist() == [True, False]
    assert oracle.action(state)[0] == 0
