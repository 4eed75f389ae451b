"""Plain text as sentences to parse: the words, where no space follows them, and a text that comes out whole."""

import unicodedata

import conllu
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from app.datamodules.parsing.conllu import parse_conllu
from app.datamodules.parsing.plain_text import sentence_of_text

# words of a text, each with ~ behind it where no space follows
TEXTS = {
    ("en", "Sue, who's 5.2 m tall,  can't go."): "Sue~ , who~ 's 5.2 m tall~ , can~ 't go~ .",
    ("en_GB", 'He said: "U.S. (not us) 50%..."'): 'He said~ : "~ U.S. (~ not us~ ) 50~ %~ ...~ "',
    ("de", "Er hat's, z.B. gestern."): "Er hat~ '~ s~ , z.B. gestern~ .",
    ("FR-ca", "L'homme d'hier"): "L'~ homme d'~ hier",
    ("no-such", "a, b"): "a~ , b",
    ("en", "\ufeff1\tx\u2028# y\x85"): "\ufeff~ 1 x # y",
    ("en", "&quot; R&D | a@b [x] <b>"): "&~ quot~ ; R~ &~ D | a~ @~ b [~ x~ ] <~ b~ >",
    ("vi", "Tôi đi học."): "Tôi đi học~ .",
    ("en", "Ame\u0301lie"): "Amélie",
    ("en", "one"): "one",
    ("en", "a DOTMULTI b."): "a DOTMULTI b.",  # Moses would make a dot of its own name for dots
    ("en", "a\x07, b"): "a\x07, b",  # and nothing of this
}


@pytest.mark.parametrize("number", range(len(TEXTS)))
def test_words_and_the_spaces_between_them(number):
    (language, text), words = list(TEXTS.items())[number]
    sentence = sentence_of_text(text, 7, language)
    marked = words.split(" ")
    assert sentence.forms == tuple(word.removesuffix("~") for word in marked)
    spaces = ["SpaceAfter=No" if word.endswith("~") else "_" for word in marked]
    assert [line.split("\t")[-1] for line in sentence.lines[2:]] == spaces


def test_the_whole_sentence():
    sentence = sentence_of_text(" Go  home! ", 12, "en")
    assert sentence.lines == (
        "# sent_id = 12",
        "# text = Go home!",
        "1	Go	_	_	_	_	_	_	_	_",
        "2	home	_	_	_	_	_	_	_	SpaceAfter=No",
        "3	!	_	_	_	_	_	_	_	_",
    )
    assert (sentence.word_lines, sentence.upos, sentence.xpos) == ((2, 3, 4), ("_",) * 3, ("_",) * 3)
    assert (sentence.heads, sentence.relations, sentence.place) == (None, None, "sentence 12")
    assert (
        sentence.with_tree([0, 1, 1], ["root", "advmod", "punct"]).split("\n")[2]
        == "1	Go	_	_	_	_	0	root	_	_"
    )


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(["en", "de", "fr", ""]))
@example("\u0338= \u0301e\u0301 \x00 \x1f.", "en")
def test_any_text_is_put_together_again(text, language):
    assume(text.strip())
    sentence = sentence_of_text(text, 1, language)
    whole = " ".join(unicodedata.normalize("NFC", text).split())
    rows = [line.split("\t") for line in sentence.lines[2:]]
    together = "".join(row[1] + ("" if row[9] == "SpaceAfter=No" else " ") for row in rows)
    assert together == f"{whole} " and sentence.lines[1] == f"# text = {whole}"
    assert all(row[1] and not any(map(str.isspace, row[1])) for row in rows)
    assert all(unicodedata.is_normalized("NFC", line) for line in sentence.lines)
    (read,) = parse_conllu(sentence.lines, "-", trees=False)
    assert (read.lines, read.word_lines, read.forms) == (sentence.lines, sentence.word_lines, sentence.forms)
    assert (read.upos, read.xpos, read.heads, read.relations) == (sentence.upos, sentence.xpos, None, None)


def test_conllu_reads_it_back():
    sentence = sentence_of_text("Who's there?", 3, "en")
    (read,) = conllu.parse(sentence.with_tree([0, 1, 1, 1], ["root", "cop", "advmod", "punct"]))
    assert read.metadata == {"sent_id": "3", "text": "Who's there?"}
    assert [token["misc"] for token in read] == [{"SpaceAfter": "No"}, None, {"SpaceAfter": "No"}, None]
