"""CoNLL-U against the conllu package."""

import conllu
from conllu.exceptions import ParseException
from hypothesis import given
from hypothesis import strategies as st

from app.datamodules.parsing.conllu import read_conllu
from app.datamodules.parsing.predict_source import sentences_to_parse
from tests.datamodules.parsing.conllu_texts import TEXT
from tests.fuzz.damage import damaged, fuzzed, outcome


@fuzzed
@given(content=damaged(TEXT.encode()), trees=st.booleans())
def test_words_and_heads_are_those_of_the_conllu_package(content, trees, tmp_path):
    path = tmp_path / "x.conllu"
    path.write_bytes(content)
    read = outcome(lambda: read_conllu(path, trees=trees), path)
    if read is None:
        return
    text = content.decode("utf-8-sig").replace("\r\n", "\n")
    lines = [line for sentence in read for line in sentence.lines]
    assert lines == [line.removesuffix("\r") for line in text.split("\n") if line.removesuffix("\r")]
    for sentence in read if trees else ():
        assert sentence.with_tree(sentence.heads, sentence.relations) == "".join(f"{line}\n" for line in sentence.lines)
    if not trees or any(line.splitlines() != [line] for line in lines):
        return  # conllu breaks lines at what is a part of a word
    try:
        reference = conllu.parse(text)
    except ParseException:
        return  # of columns that we do not read, such as FEATS
    words = [[token for token in other if isinstance(token["id"], int)] for other in reference]
    assert [sentence.forms for sentence in read] == [tuple(token["form"] for token in rows) for rows in words]
    assert [sentence.heads for sentence in read] == [tuple(token["head"] for token in rows) for rows in words]


@fuzzed
@given(content=damaged("Sie ging zum Fluß.\nDr. Who's 3.5%\n\nA  b\n".encode()))
def test_plain_text_to_parse(content, tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(content)
    read = outcome(
        lambda: [s for piece in sentences_to_parse(str(path), "auto", "de", "utf-8", 2) for s in piece], path
    )
    for sentence in read or []:
        assert sentence.forms and all(form and not any(map(str.isspace, form)) for form in sentence.forms)
