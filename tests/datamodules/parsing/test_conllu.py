"""CoNLL-U: what is read, what is written back byte for byte, and what any other text comes to."""

import bz2
import gzip
import re

import conllu
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.datamodules.io.files import split_lines
from app.datamodules.parsing.conllu import Sentence, parse_conllu, read_conllu
from app.errors import InputError
from tests.datamodules.parsing.conllu_texts import ENGLISH, GERMAN, PENN, TEXT, write

WRITTEN = "Sue likes coffee and Bill tea"


def parse(text: str, trees: bool = True) -> list[Sentence]:
    return list(parse_conllu(split_lines(text), "bank.conllu", trees=trees))


def written(sentences: list[Sentence]) -> str:
    """The sentences with the trees that they have."""
    return "".join(sentence.with_tree(sentence.heads, sentence.relations) + "\n" for sentence in sentences)


# What is read


def test_sentences_and_their_trees():
    german, english, penn = parse(TEXT)
    assert german.forms == ("Sie", "ging", "zu", "dem", "Fluß", ".")
    assert german.upos == ("PRON", "VERB", "ADP", "DET", "NOUN", "PUNCT")
    assert german.xpos == ("PPER", "VVFIN", "APPR", "ART", "NN", "$.")
    assert german.heads == (2, 0, 5, 5, 2, 2)
    assert german.relations == ("nsubj", "root", "case", "det", "obl", "punct")
    assert german.lines == tuple(GERMAN.splitlines())
    assert german.word_lines == (3, 4, 6, 7, 8, 9)
    assert (english.forms, english.xpos) == (tuple(WRITTEN.split()), ("_",) * 6)
    assert (english.heads, english.word_lines) == ((2, 0, 2, 5, 2, 5), (3, 4, 5, 6, 7, 9))
    assert (penn.forms, penn.heads, penn.relations) == (("New York", "grew"), (2, 0), None)
    assert [sentence.place for sentence in (german, english, penn)] == [
        "bank.conllu:1 (sentence river-1)",
        "bank.conllu:12 (sentence coffee/2)",
        "bank.conllu:23",
    ]


def test_without_trees_heads_and_relations_are_not_looked_at():
    strange = ENGLISH.replace("\t2\tnsubj", "\t77\t_").replace("\t0\troot", "\t_\troot").replace("\t5\tcc", "\tx\tcc")
    (sentence,) = parse(strange, trees=False)
    assert (sentence.forms, sentence.heads, sentence.relations) == (tuple(WRITTEN.split()), None, None)
    assert sentence.with_tree([2, 0, 2, 5, 2, 5], ["nsubj", "root", "obj", "cc", "conj", "orphan"]) == ENGLISH
    assert parse(TEXT, trees=False)[0].relations is None


def test_each_sentence_comes_with_its_empty_line():
    reached = []

    def lines():
        for number, line in enumerate(split_lines(TEXT), start=1):
            reached.append(number)
            yield line

    sentences = parse_conllu(lines(), "-", trees=True)
    ends = [(next(sentences).forms[0], reached[-1]) for _ in range(3)]
    assert ends == [("Sie", 11), ("Sue", 22), ("New York", 25)]
    assert next(sentences, None) is None


@pytest.mark.parametrize("end", ["\n\n", "\n", "", "\n\n\n\n"])
def test_empty_lines_around_sentences(end):
    assert [sentence.place for sentence in parse("\n\n" + PENN.rstrip("\n") + end)] == ["bank.conllu:3"]


def test_files(tmp_path):
    plain = read_conllu(write(tmp_path / "bank.conllu", TEXT))
    assert written(plain) == TEXT
    for name, content in {
        "bank.conllu.gz": gzip.compress(TEXT.encode()),
        "bank.conllu.bz2": bz2.compress(TEXT.encode()),
        "bom.conllu": "\ufeff" + TEXT,
        "windows.conllu": TEXT.replace("\n", "\r\n"),
    }.items():
        read = read_conllu(write(tmp_path / name, content))
        assert [sentence.lines for sentence in read] == [sentence.lines for sentence in plain]
        assert read[0].place == f"{tmp_path / name}:1 (sentence river-1)"
    no_tree = write(tmp_path / "blind.conllu", re.sub(r"\t[0-9]\t\w+\t", "\t_\t_\t", TEXT))
    assert [sentence.heads for sentence in read_conllu(no_tree, trees=False)] == [None] * 3


def test_a_multi_word_token_may_have_one_word():
    (sentence,) = parse("1-1\tNew\t_\t_\t_\t_\t_\t_\t_\t_\n" + PENN)
    assert (sentence.word_lines, sentence.heads) == ((1, 2), (2, 0))


def test_conll_x(tmp_path):
    text = "1\tVita\tvita\tN\tNNP\tgender=f\t2\tSUBJ\t2\tSUBJ\n2\tsover\tsova\tV\tVB\t_\t0\tROOT\t0\tROOT\n\n"
    sentences = read_conllu(write(tmp_path / "talbanken.conll", text))
    assert (sentences[0].upos, sentences[0].relations) == (("N", "V"), ("SUBJ", "ROOT"))
    assert written(sentences) == text


def test_what_unicode_calls_white_space_stays_in_a_word():
    form = "10\u00a0000\u2028\x85\x0ca"
    (sentence,) = parse(PENN.replace("New York", form))
    assert sentence.forms[0] == form
    assert written([sentence]) == PENN.replace("New York", form) + "\n"


# What is written


def test_another_tree_changes_two_columns_of_words():
    (sentence,) = parse(GERMAN)
    text = sentence.with_tree([0, 1, 1, 1, 1, 1], ["a", "b", "c:d", "e", "f", "g"])
    changed = [(old, new) for old, new in zip(GERMAN.splitlines(), text.splitlines(), strict=True) if old != new]
    assert len(changed) == 6
    for old, new in changed:
        before, after = old.split("\t"), new.split("\t")
        assert (before[:6], before[8:]) == (after[:6], after[8:])
    assert parse(text)[0].relations == ("a", "b", "c:d", "e", "f", "g")
    heads_only = sentence.with_tree([0, 1, 1, 1, 1, 1], None)
    assert parse(heads_only)[0].relations == sentence.relations
    assert parse(heads_only)[0].heads == (0, 1, 1, 1, 1, 1)


# Anything at all


def is_tree(heads: list[int]) -> bool:
    """By the definition: one root, and from each word the way up ends there."""

    def is_under_root(word: int) -> bool:
        for _ in heads:
            word = heads[word - 1] if word else 0
        return word == 0

    return heads.count(0) == 1 and all(map(is_under_root, range(1, len(heads) + 1)))


trees = st.integers(1, 9).flatmap(lambda size: st.lists(st.integers(0, size), min_size=size, max_size=size))


@given(trees)
@example([2, 3, 1])
@example([2, 1, 0])
def test_a_tree_is_what_is_one_by_definition(heads):
    rows = [f"{word}\tw\t_\t_\t_\t_\t{head}\t_\t_\t_" for word, head in enumerate(heads, start=1)]
    if is_tree(heads):
        assert parse("\n".join(rows))[0].heads == tuple(heads)
    else:
        with pytest.raises(InputError, match="root|own head|cycle"):
            parse("\n".join(rows))


# Another reader

words = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1)


@st.composite
def banks(draw) -> str:
    """CoNLL-U with multi-word tokens, empty nodes and comments here and there."""
    sentences = []
    for number in range(draw(st.integers(1, 3))):
        size = draw(st.integers(1, 6))
        order = draw(st.permutations(range(1, size + 1)))
        heads = dict(zip(order, [0] + [draw(st.sampled_from(order[:i])) for i in range(1, size)], strict=True))
        rows = [f"# sent_id = {number}"] if draw(st.booleans()) else []
        is_inside = False
        for word in range(1, size + 1):
            if is_inside := not is_inside and word < size and draw(st.booleans()):
                rows.append(f"{word}-{word + 1}\t{draw(words)}" + "\t_" * 8)
            form, upos, xpos, relation = (draw(words) for _ in range(4))
            rows.append(f"{word}\t{form}\t_\t{upos}\t{xpos}\t_\t{heads[word]}\tr{relation}\t_\t_")
            if not is_inside and draw(st.booleans()):
                rows.append(f"{word}.1\t{draw(words)}" + "\t_" * 8)
        sentences.append("\n".join(rows) + "\n\n")
    return "".join(sentences)


@given(banks())
@example(TEXT)
def test_conllu_reads_the_same(text):
    sentences = parse(text)
    reference = conllu.parse(text)
    assert written(sentences) == text
    assert len(sentences) == len(reference)
    for sentence, other in zip(sentences, reference, strict=True):
        rows = [token for token in other if isinstance(token["id"], int)]
        assert sentence.forms == tuple(token["form"] for token in rows)
        assert sentence.upos == tuple(token["upos"] or "_" for token in rows)
        assert sentence.xpos == tuple(token["xpos"] or "_" for token in rows)
        assert sentence.heads == tuple(token["head"] for token in rows)
        assert (sentence.relations or ("_",) * len(rows)) == tuple(token["deprel"] for token in rows)
        assert len(other) == sum(not line.startswith("#") for line in sentence.lines)
