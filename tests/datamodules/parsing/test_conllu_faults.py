"""What is refused in CoNLL-U: the line and the sentence that an error names, and what it says."""

import gzip
import re

import pytest

from app.datamodules.io.files import split_lines
from app.datamodules.parsing.conllu import parse_conllu, read_conllu
from app.errors import InputError
from tests.datamodules.parsing.conllu_texts import ENGLISH, PENN, TEXT, write

BY_TABS = "not 10; separate them by one tab each"
SPACES = "columns are separated by spaces; separate them by one tab each"
INDENTED = (
    "begins with white space; begin a word with its id and a comment with #, and separate sentences by an empty line"
)
EMPTY = "is empty; write _ for no value"
NUMBERED = "; number words 1, 2, 3 and so on"
RANGE = (
    "of a multi-word token; it must be FIRST-LAST, the numbers of its words, on the line before the first one, "
    "with no word in two tokens"
)
BOUNDS = "allowed: 0 (root) to 6"
NO_WORDS = "0.1	a	_	_	_	_	_	_	_	_\n"
LIKES = "2	likes	like	VERB	_	_	0	root	_	_"

# what of TEXT is replaced by what, the line of the fault, and what is said
FORMAT_FAULTS = {
    "too few columns": ("	CopyOf=2", "", 20, f"9 columns, {BY_TABS}"),
    "too many columns": ("CopyOf=2", "_	_", 20, f"11 columns, {BY_TABS}"),
    "no columns": (PENN, "New York grew .", 23, f"1 column, {BY_TABS}"),
    "spaces": (LIKES, LIKES.replace("\t", "  "), 16, SPACES),
    "one space": ("2	likes	like", "2	likes like", 16, SPACES),
    "indented": ("2	likes", " 2	likes", 16, INDENTED),
    "indented by a tab": ("# a comment", "	# a comment", 14, INDENTED),
    "empty line that is not": ("\n\n1	New York", "\n \n1	New York", 22, INDENTED),
    "empty column": (
        "likes	like	VERB	_	_	0",
        "likes		VERB	_	_	0",
        16,
        f"column LEMMA {EMPTY}",
    ),
    "empty column of a multi-word token": ("zum	_", " 	_", 6, f"column FORM {EMPTY}"),
    "empty column at the end": ("CopyOf=2", "", 20, f"column MISC {EMPTY}"),
    "comment inside": (
        "2	likes",
        "# sent_id = 7\n2	likes",
        16,
        "comment '# sent_id = 7' is inside the sentence; move it before the first word, or end the sentence above "
        "it with an empty line",
    ),
    "comment alone": (
        PENN,
        f"# sent_id = 7\n\n{PENN}",
        23,
        "a comment without words; add the words, delete it, or delete the empty line after it",
    ),
    "no word": (PENN, f"# sent_id = 7\n{NO_WORDS}", 24, "no words in this sentence; add them, or delete it"),
    "id skipped": ("3	coffee", "4	coffee", 17, f"id '4', expected word 3{NUMBERED}"),
    "id twice": ("3	coffee", "2	coffee", 17, f"id '2', expected word 3{NUMBERED}"),
    "id from 0": ("1	Sue", "0	Sue", 15, f"id '0', expected word 1{NUMBERED}"),
    "id no number": ("3	coffee", "x3	coffee", 17, f"id 'x3', expected word 3{NUMBERED}"),
    "id in other digits": ("3	coffee", "३	coffee", 17, f"id '३', expected word 3{NUMBERED}"),
    "id padded": ("3	coffee", "03	coffee", 17, f"id '03', expected word 3{NUMBERED}"),
    "id of many digits": (
        "3	coffee",
        f"{'3' * 5000}	coffee",
        17,
        f"id '{'3' * 40}'..., expected word 3{NUMBERED}",
    ),
    "sentences together": (f"{ENGLISH}\n", ENGLISH, 22, f"id '1', expected word 7{NUMBERED}"),
    "empty node misnumbered": ("5.1	", "5.2	", 20, "id '5.2' of an empty node; it must be 5.1 here"),
    "empty node misplaced": ("5.1	", "4.1	", 20, "id '4.1' of an empty node; it must be 5.1 here"),
    "empty node malformed": ("5.1	", "5.1.1	", 20, "id '5.1.1' of an empty node; it must be 5.1 here"),
    "empty node behind a range": ("3	zu	", f"{NO_WORDS}3	zu	", 7, f"id '0.1', expected word 3{NUMBERED}"),
    "range reversed": ("3-4	", "4-3	", 6, f"id '4-3' {RANGE}"),
    "range without end": ("3-4	", "3-	", 6, f"id '3-' {RANGE}"),
    "range from an earlier word": ("3-4	", "2-4	", 6, f"id '2-4' {RANGE}"),
    "range from a later word": ("3-4	", "4-5	", 6, f"id '4-5' {RANGE}"),
    "range of letters": ("3-4	", "a-b	", 6, f"id 'a-b' {RANGE}"),
    "range padded": ("3-4	", "03-4	", 6, f"id '03-4' {RANGE}"),
    "range of three": ("3-4	", "3-4-5	", 6, f"id '3-4-5' {RANGE}"),
    "range of many digits": ("3-4	", f"3-{'9' * 5000}	", 6, f"id '3-{'9' * 38}'... {RANGE}"),
    "ranges that overlap": (
        "4	dem",
        "4-5	em	_	_	_	_	_	_	_	_\n4	dem",
        8,
        f"id '4-5' {RANGE}",
    ),
    "range beyond the end": (
        "3-4	",
        "3-7	",
        6,
        "multi-word token up to word 7, but the last word is 6; correct it or add the words",
    ),
}
TREE_FAULTS = {
    "head no number": ("2	obj", "two	obj", 17, f"head 'two' of word 3 'coffee' is not a number; {BOUNDS}"),
    "head padded": ("2	obj", "02	obj", 17, f"head '02' of word 3 'coffee' is not a number; {BOUNDS}"),
    "head outside": ("2	obj", "7	obj", 17, f"head '7' of word 3 'coffee' is outside the sentence; {BOUNDS}"),
    "head negative": ("2	obj", "-1	obj", 17, f"head '-1' of word 3 'coffee' is outside the sentence; {BOUNDS}"),
    "head of many digits": (
        "2	obj",
        f"{'2' * 5000}	obj",
        17,
        f"head '{'2' * 40}'... of word 3 'coffee' is outside the sentence; {BOUNDS}",
    ),
    "own head": ("2	obj", "3	obj", 17, "word 3 'coffee' is its own head; use another word, or 0 for the root"),
    "no head": ("2	obj", "_	obj", 17, "word 3 'coffee' has no head, but others have; add it"),
    "no heads": (
        PENN,
        re.sub(r"\t[02]\t", "\t_\t", PENN),
        23,
        "no word has a head; to learn or score trees, use a file with them in column HEAD",
    ),
    "no relation": ("2	obj", "2	_", 17, "word 3 'coffee' has no relation, but others have; add it"),
    "no root": ("0	root	_", "3	root	_", 15, "no word is the root; one of them must have head 0"),
    "two roots": (
        "2	conj",
        "0	conj",
        19,
        "word 2 'likes' and word 5 'Bill' both have head 0; a sentence must have one root",
    ),
    "cycle": (
        "2	conj",
        "6	conj",
        19,
        "word 5 'Bill', word 6 'tea' are a cycle, each with the next as its head, the last with the first; set the "
        "head of one of them to a word outside",
    ),
}


def place(text: str, line: int) -> str:
    """The line, and the first sent_id between the empty lines around it."""
    before, after = text.split("\n")[:line], text.split("\n")[line:]
    sentence = "\n".join(before).split("\n\n")[-1] + "\n" + "\n".join(after).split("\n\n")[0]
    sent_id = re.search(r"# sent_id = (\S+)", sentence)
    return f"{line} (sentence {sent_id[1]})" if sent_id else f"{line}"


@pytest.mark.parametrize("fault", FORMAT_FAULTS | TREE_FAULTS)
def test_a_fault_is_named_with_its_place(tmp_path, fault):
    old, new, line, message = (FORMAT_FAULTS | TREE_FAULTS)[fault]
    assert TEXT.count(old) == 1
    text = TEXT.replace(old, new)
    path = write(tmp_path / "bank.conllu", text)
    with pytest.raises(InputError) as caught:
        read_conllu(path)
    assert str(caught.value) == f"{path}:{place(text, line)}: {message}"


def test_the_places_of_the_table():
    assert [place(TEXT, line) for line in (6, 17, 23)] == ["6 (sentence river-1)", "17 (sentence coffee/2)", "23"]


@pytest.mark.parametrize("fault", FORMAT_FAULTS | TREE_FAULTS)
def test_what_is_no_tree_is_refused_only_where_trees_are_asked_for(fault):
    old, new, *_ = (FORMAT_FAULTS | TREE_FAULTS)[fault]
    lines = split_lines(TEXT.replace(old, new))
    if fault in TREE_FAULTS:
        assert len(list(parse_conllu(lines, "-", trees=False))) == 3
    else:
        with pytest.raises(InputError):
            list(parse_conllu(lines, "-", trees=False))


def test_a_cycle_is_told_from_its_first_word():
    rows = [f"{word}\tw{word}\t_\t_\t_\t_\t{head}\t_\t_\t_" for word, head in enumerate([4, 3, 4, 2, 0], start=1)]
    with pytest.raises(InputError, match="^-:2: word 2 'w2', word 3 'w3', word 4 'w4' are a cycle"):
        list(parse_conllu(rows, "-", trees=True))


def test_a_long_cycle_is_cut_short():
    rows = ["1\tw\t_\t_\t_\t_\t0\t_\t_\t_"]
    rows += [f"{word}\tw\t_\t_\t_\t_\t{word + 1 if word < 3000 else 2}\t_\t_\t_" for word in range(2, 3001)]
    with pytest.raises(InputError) as caught:
        list(parse_conllu(rows, "bank.conllu", trees=True))
    message = str(caught.value)
    assert message.startswith("bank.conllu:2: word 2 'w', word 3 'w', ") and " word 9 'w' and 2991 more are" in message


@pytest.mark.parametrize(("line", "byte"), [(8, b"\xff"), (17, b"\xfc"), (17, b"\xed\xa0\x80"), (23, b"\xc3")])
def test_another_encoding_is_named_with_its_place(tmp_path, line, byte):
    lines = TEXT.encode().split(b"\n")
    lines[line - 1] = lines[line - 1].replace(b"e", byte, 1)
    path = write(tmp_path / "bank.conllu", b"\n".join(lines))
    with pytest.raises(InputError) as caught:
        read_conllu(path)
    assert str(caught.value) == f"{path}:{place(TEXT, line)}: byte 0x{byte[0]:02x} is not utf-8; save the file as utf-8"


@pytest.mark.parametrize("content", ["", "\n", "\r\n\r\n", "\ufeff"])
def test_a_file_without_sentences_is_refused(tmp_path, content):
    path = write(tmp_path / "empty.conllu", content)
    with pytest.raises(InputError) as caught:
        read_conllu(path)
    assert str(caught.value) == f"{path}: has no sentence; use a file in CoNLL-U, with one word per line"


def test_what_is_no_file_is_refused(tmp_path):
    write(tmp_path / "cut.conllu.gz", gzip.compress(TEXT.encode())[:-9])
    for name, message in {
        "": "is a folder; use a file in CoNLL-U",
        "missing.conllu": "cannot be read (No such file or directory)",
        "x" * 5000: "cannot be read (File name too long)",
        "cut.conllu.gz": "cannot be unpacked as .gz",
    }.items():
        with pytest.raises(InputError, match=re.escape(f"{tmp_path / name}: {message}")):
            read_conllu(tmp_path / name)
