"""The forms of a prediction: exact in jsonl and tsv, bare in plain, and a line each."""

import csv
import io
import json
import re

import pytest

from app.tasks.prediction import Prediction, PredictionLines

KNOWN = [
    {"text": 'he said "no"', "label": "a", "probabilities": {"a": 0.75, "b": 0.25}},
    {"text": "tab\there\nand\r\nc:\\new\\table", "label": "b", "probabilities": {"a": 1e-06, "b": 0.999999}},
    {"text": "", "label": "b", "probabilities": {"a": 0.5, "b": 0.5}},
]
PREDICTIONS = [Prediction(number, known, known["label"]) for number, known in enumerate(KNOWN)]
ESCAPED = {r"\\": "\\", r"\t": "\t", r"\n": "\n", r"\r": "\r", r"\s": " "}


def written(form, predictions, output_fields=()):
    lines = PredictionLines(form, output_fields)
    half = len(predictions) // 2  # as in pieces: the header is for all of them
    return "".join([*lines(predictions[:half]), *lines(predictions[half:])])


def unescaped(text):
    return re.sub(r"\\.", lambda match: ESCAPED[match[0]], text)


def test_jsonl_is_all_that_is_known_and_the_own_form_a_part_of_it():
    assert [json.loads(line) for line in written("jsonl", PREDICTIONS).split("\n")[:-1]] == KNOWN
    own = [json.loads(line) for line in written(None, PREDICTIONS, ("label",)).split("\n")[:-1]]
    assert own == [{"label": known["label"]} for known in KNOWN]


def test_a_tsv_has_a_line_a_record_and_csv_readers_read_it_back():
    text = written("tsv", PREDICTIONS)
    assert text.count("\n") == 1 + len(KNOWN) and "\r" not in text
    header, *rows = csv.reader(io.StringIO(text), delimiter="\t", strict=True)
    assert header == ["text", "label", "probabilities.a", "probabilities.b"]
    for row, known in zip(rows, KNOWN, strict=True):
        assert unescaped(row[0]) == known["text"] and row[1] == known["label"]
        assert list(map(float, row[2:])) == list(known["probabilities"].values())
    assert rows[0][0] == KNOWN[0]["text"]


def test_lists_in_a_tsv_can_be_taken_apart():
    known = {"words": ("New York", "\\s", '"'), "heads": [2, 0, 1], "relations": None}
    rows = list(csv.reader(io.StringIO(written("tsv", [Prediction(0, known, "")])), delimiter="\t"))
    assert rows[1][1:] == ["2 0 1", ""]
    assert tuple(map(unescaped, rows[1][0].split(" "))) == known["words"]


@pytest.mark.parametrize("form", ["plain", None])
def test_plain_is_the_answer_with_nothing_changed_but_line_breaks(form):
    answers = ["a\\b\tc", "two\nlines\r", ""]
    assert written(form, [Prediction(0, {}, answer) for answer in answers]) == "a\\b\tc\ntwo\\nlines\\r\n\n"
    assert written(form, [Prediction(0, {}, "1\tIt\n2\tworks\n", is_block=True)]) == "1\tIt\n2\tworks\n\n"
