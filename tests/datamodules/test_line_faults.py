"""All lines of a file that cannot be read are named at once, by every reader: not one of them a start."""

from types import SimpleNamespace

import pytest

from app.datamodules.image_classification.reader import read_images, read_labelled_images
from app.datamodules.io.labels import label_ids
from app.datamodules.io.texts import texts_to_predict
from app.datamodules.parsing.conllu import read_conllu
from app.datamodules.parsing.predict_source import sentences_to_parse
from app.datamodules.text_classification.reader import read_labelled_texts
from app.datamodules.translation.reader import read_parallel_texts
from app.errors import InputError, LineFaults

GOOD, BAD = "1\tIt\t_\t_\t_\t_\t0\t_\t_\t_\n\n", "1\tIt\t_\t_\t_\t_\t1\t_\t_\t_\n\n"


def read_pairs(path):
    return read_parallel_texts(path, source_language="en", target_language="de")


def read_to_predict(path):
    return texts_to_predict(str(path), "text", chunk_size=9)


def parse_to_predict(path):
    return sentences_to_parse(str(path), "auto", "en", "utf-8", 9)


# name of the file, the line before all others, a good line, a bad one, reader, lines of each
READERS = [
    ("x.csv", "text,label\n", "good,a\n", "bad\n", read_labelled_texts, 1),
    ("x.tsv", "text\tlabel\n", "good\ta\n", "bad\t\n", read_labelled_texts, 1),
    ("x.jsonl", "", '{"text": "good", "label": 1}\n', '{"text": 7, "label": 1}\n', read_labelled_texts, 1),
    ("x.jsonl", "", '{"text": "good", "label": 1}\n', '{"text": \n', read_labelled_texts, 1),
    ("x.train", "", "a good\n", "\n", read_labelled_texts, 1),
    ("x.csv", "en,de\n", "one,eins\n", "two\n", read_pairs, 1),
    ("x.jsonl", "", '{"en": "one", "de": "eins"}\n', '{"en": "two"}\n', read_pairs, 1),
    ("x.csv", "text,label\n", "good,a\n", "bad\n", read_to_predict, 1),
    ("x.conllu", "", GOOD, BAD, read_conllu, 2),
    ("x.conllu", "", GOOD, GOOD.replace("\t_\n", "\n"), parse_to_predict, 2),
    ("x.csv", "", "1,2,3,4,a\n", "1,2,3,999,a\n", read_labelled_images, 1),
    ("x.csv", "", "1,2,3,4,a\n", "1,2,3,4,\n", read_labelled_images, 1),
    ("x.csv", "", "1,2,3,4\n", "1,2,3\n", read_images, 1),
]


@pytest.mark.parametrize(("name", "begin", "good", "bad", "read", "size"), READERS)
def test_every_reader_names_all_lines(name, begin, good, bad, read, size, tmp_path):
    path = tmp_path / name
    path.write_text(begin + good + 14 * (bad + good))
    first = 1 + bool(begin) + size
    lines = [first + 2 * size * number for number in range(14)]
    with pytest.raises(InputError) as caught:
        read(path)
    message, others = str(caught.value).splitlines()
    assert message.startswith(f"{path}:{lines[0]}: ") and "; " in message
    assert others.startswith("13 more lines are wrong: ") and others.endswith(f"{lines[9]} (the same) and 4 more")
    assert all(f" {line} (" in others for line in lines[1:10])

    path.write_text(begin + good + bad + good)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value) == message  # of one line nothing else is said


def test_labels_that_are_not_classes_are_named_together():
    examples = SimpleNamespace(labels=["a", "x", "a", "y"], where=lambda index: f"f:{index + 1}")
    with pytest.raises(InputError) as caught:
        label_ids(examples, ["a", "b"])
    message, others = str(caught.value).splitlines()
    assert message == "f:2: label 'x' is outside the set; allowed: a, b"
    assert others == "1 more line is wrong: f:4 (label 'y' is outside the set)"


def test_what_ends_the_reading_is_named_with_what_was_wrong_before(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text('text\tlabel\nbad\n"open\ta\n')
    with pytest.raises(InputError) as caught:
        read_labelled_texts(path)
    assert str(caught.value).splitlines()[1] == "1 more line is wrong: 3 (unexpected end of data)"


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), LineFaults("x") as faults:
        faults.add(InputError("x:1: wrong"))
        with faults.row():
            raise ZeroDivisionError
