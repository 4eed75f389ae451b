"""Attachment counts, beside the evaluation script of the CoNLL shared tasks."""

import numpy as np
import pytest
import torch
from udtools.udeval import evaluate, load_conllu

from app.metrics import attachments, heads_of_next
from tests.stand_ins import write_treebank

LENGTHS = torch.tensor([4, 2])
RIGHT = torch.tensor([[2, 0, 2, 3], [0, 1, -100, -100]])
RELATIONS = torch.tensor([[1, 0, 2, 3], [0, 1, -100, -100]])
WORDS = RIGHT != -100


def test_all_words_are_right_in_the_right_tree_and_padding_nowhere():
    same = attachments(RIGHT.clamp(min=0), RELATIONS.clamp(min=0), RIGHT, RELATIONS, WORDS)
    assert torch.equal(same.heads, WORDS) and torch.equal(same.labelled, WORDS)
    assert same.trees.tolist() == same.labelled_trees.tolist() == [True, True]


def test_a_wrong_relation_spoils_the_labelled_scores_alone():
    heads, relations = RIGHT.clone(), RELATIONS.clone()
    heads[0, 3], relations[1, 1] = 2, 0
    found = attachments(heads, relations, RIGHT, RELATIONS, WORDS)
    assert (found.heads.sum(), found.labelled.sum()) == (5, 4)
    assert found.trees.tolist() == [False, True] and found.labelled_trees.tolist() == [False, False]


def test_the_baseline_attaches_each_word_to_the_next_one():
    assert heads_of_next(LENGTHS, 4).tolist() == [[2, 3, 4, 0], [2, 0, 0, 0]]


@pytest.mark.parametrize("seed", [0, 1])
def test_counts_are_those_of_the_shared_tasks(tmp_path, seed):
    from app.datamodules.parsing.conllu import read_conllu

    write_treebank(tmp_path / "gold.conllu", 30, seed)
    gold = read_conllu(tmp_path / "gold.conllu")
    rng = np.random.default_rng(seed)
    names = sorted({relation for sentence in gold for relation in sentence.relations})
    texts, right, labelled, words = [], 0, 0, 0
    for sentence in gold:
        heads, relations = list(sentence.heads), list(sentence.relations)
        root = heads.index(0)
        for word in range(len(heads)):
            if word != root and rng.random() < 0.3:
                heads[word] = root + 1  # whatever hangs on the root's word stays a tree
            if rng.random() < 0.2:
                relations[word] = str(rng.choice(names))
        texts.append(sentence.with_tree(heads, relations))

        def ids(given):
            return torch.tensor([[names.index(relation) for relation in given]])

        one = attachments(
            torch.tensor([heads]), ids(relations), torch.tensor([sentence.heads]), ids(sentence.relations),
            torch.ones(1, len(heads), dtype=torch.bool),
        )  # fmt: skip
        right, labelled, words = right + one.heads.sum(), labelled + one.labelled.sum(), words + len(heads)
    (tmp_path / "system.conllu").write_text("\n".join(texts) + "\n", encoding="utf-8")
    read = []
    for name in ("gold", "system"):
        with (tmp_path / f"{name}.conllu").open(encoding="utf-8") as file:
            read.append(load_conllu(file, name, {}))
    official = evaluate(*read)
    assert (official["UAS"].correct, official["LAS"].correct) == (right, labelled)
    assert official["UAS"].gold_total == words
