"""Parallel corpora to batches: what is kept, dropped and counted, the way back to text, what predict reads."""

import io
import logging

import numpy as np
import pytest

from app.batches import TranslationBatch
from app.datamodules import TranslationData
from app.datamodules.batching.batch_plan import PlanItem
from app.datamodules.tokenizers.tokenizer import TokenizerConfig
from app.errors import InputError
from tests.stand_ins import sentence_pairs, write_aligned

PAIRS = sentence_pairs(100)


def data(folder, **settings):
    defaults = {"name": "tiny", "source": str(folder), "source_language": "en", "target_language": "de"}
    tokenizer = TokenizerConfig(kind="bpe", vocab_size=400, min_frequency=1)
    return TranslationData(**{**defaults, "tokenizer": tokenizer, "cache_dir": str(folder / "cache"), **settings})


@pytest.fixture
def folder(tmp_path):
    for part, pairs in (("train", PAIRS[:80]), ("val", PAIRS[80:90]), ("test", PAIRS[90:])):
        write_aligned(tmp_path / part, ("en", "de"), pairs)
    return tmp_path


def test_a_batch_pads_each_side_and_counts_target_tokens(folder):
    split = data(folder).splits["train"]
    batch = split.batch(PlanItem([3, 0, 7], loss_denominator=99, is_dummy=False))
    for row, index in enumerate([3, 0, 7]):
        real = batch.attention_mask[row].bool()
        assert batch.input_ids[row][real].tolist() == split.source.ids[index].tolist()
        assert (batch.input_ids[row][~real] == 0).all()
        labels = batch.labels[row]
        assert labels[labels != TranslationBatch.IGNORED].tolist() == split.target.ids[index].tolist()
        assert (batch.sources[row], batch.references[row]) == PAIRS[index]
    assert batch.target_tokens == sum(len(split.target.ids[i]) for i in (3, 0, 7)) == int((batch.labels != -100).sum())
    assert batch.tokens == batch.target_tokens + int(batch.attention_mask.sum())
    assert split.units.tolist() == [len(row) for row in split.target.ids]
    assert (split.lengths == np.maximum(split.source.lengths, split.target.lengths)).all()


def test_both_sides_share_one_vocabulary_and_end_with_its_end_mark(folder):
    module = data(folder)
    data_spec = module.data_spec
    options = data_spec.model_options
    assert options["vocab_size"] == module.tokenizer.vocab_size <= 400
    split = module.splits["val"]
    for side in (split.source, split.target):
        assert all(row[-1] == options["eos_token_id"] and options["bos_token_id"] not in row for row in side.ids)
        assert data_spec.decode([row.tolist() for row in side.ids]) == side.texts
    assert data_spec.target_language == "de" and data_spec.max_length == 128 and data_spec.vocabulary


def test_limits_drop_training_pairs_alone_and_count_them(folder, caplog):
    write_aligned(
        folder / "train", ("en", "de"),
        [*PAIRS[:78], ("word " * 60, "Wort " * 60), ("a house", "ein Haus " * 12), ("", "leer"), ("empty", " ")],
    )  # fmt: skip
    write_aligned(folder / "val", ("en", "de"), [("red " * 60, "rot " * 60), *PAIRS[80:90]])
    with caplog.at_level(logging.INFO):
        splits = data(folder, max_length=40).splits
    assert {part: len(split.lengths) for part, split in splits.items()} == {"train": 78, "val": 11, "test": 10}
    assert max(splits["val"].lengths) == 40
    said = caplog.text
    for words in (
        "read 103 pairs, dropped 2 with an empty side", "dropped 1 training pairs: longer than 40 tokens",
        "dropped 1 training pairs: one side over 3 times", "1 of 11 val source sentences were truncated to 40 tokens",
        "kept 78 train, 11 val, 10 test pairs",
    ):  # fmt: skip
        assert words in said
    assert splits["val"].target.texts[0] == ("rot " * 60).strip()  # what is scored against is whole


def test_equal_sources_stay_in_one_part(tmp_path):
    pairs = [(f"the {word} dog", f"der Hund {word} {copy}") for word in range(30) for copy in range(3)]
    write_aligned(tmp_path / "all", ("en", "de"), [*pairs, *[(a.upper() + "!", b) for a, b in pairs]])
    parts = data(tmp_path).texts
    keys = [{source.casefold().rstrip("!") for source in parts[part].sources} for part in ("train", "val", "test")]
    assert len(set.union(*keys)) == sum(map(len, keys)) == 30
    assert {part: len(pairs) for part, pairs in parts.items()} == {"train": 144, "val": 18, "test": 18}


def test_parts_come_from_where_they_are_named(tmp_path):
    write_aligned(tmp_path / "a/train", ("en", "de"), PAIRS[:80])
    write_aligned(tmp_path / "b/tst2012", ("en", "de"), PAIRS[80:90])
    write_aligned(tmp_path / "b/tst2013", ("en", "de"), PAIRS[90:])
    module = data(tmp_path / "a", val_source=str(tmp_path / "b/tst2012"), test_source=str(tmp_path / "b/tst2013"))
    assert module.texts["val"].sources == [source for source, _ in PAIRS[80:90]]
    assert module.texts["test"].targets == [target for _, target in PAIRS[90:]]
    assert len(module.texts["train"]) == 80


def test_a_source_that_is_common_to_two_parts_is_said(folder, caplog):
    write_aligned(folder / "test", ("en", "de"), PAIRS[78:90])
    with caplog.at_level(logging.INFO):
        assert len(data(folder).texts["test"]) == 12
    assert "2 of 12 test sources are also in the train split, as published" in caplog.text


def test_what_was_tokenised_becomes_plain_text(folder):
    write_aligned(folder / "train", ("en", "de"), [("It &apos;s a house , here .", "Das Haus ist rot ."), *PAIRS[:79]])
    texts = data(folder, detokenize=True).texts["train"]
    assert (texts.sources[0], texts.targets[0]) == ("It's a house, here.", "Das Haus ist rot.")


def test_predict_keeps_every_line_in_its_place(folder):
    (folder / "in.txt").write_text("the red dog\n\n  \nthe old tree.\n", encoding="utf-8")
    (split,) = data(folder, predict_source=str(folder / "in.txt")).predict_splits()
    batch = split.batch(PlanItem([0, 1, 2, 3], 4, False))
    assert batch.sources == ["the red dog", "", "", "the old tree."]


def test_predict_reads_standard_input_as_it_comes(folder, monkeypatch):
    class Slowly(io.RawIOBase):
        """Gives what was typed so far, piece by piece."""

        pieces = [b"the red", b" dog\nthe", b" old tree\n\n", "das H\u00e4uschen".encode()]

        def readable(self):
            return True

        def readinto(self, buffer):
            piece = self.pieces.pop(0) if self.pieces else b""
            buffer[: len(piece)] = piece
            return len(piece)

    class Stdin:
        buffer = io.BufferedReader(Slowly())

    monkeypatch.setattr("sys.stdin", Stdin())
    splits = list(data(folder, predict_source="-").predict_splits())
    assert [split.source.texts for split in splits] == [["the red dog"], ["the old tree", ""], ["das H\u00e4uschen"]]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_length": 1}, "max_length is 1; it must be >= 2"),
        ({"max_ratio": 0.5}, "max_ratio is 0.5; it must be >= 1"),
        ({"tokenizer": TokenizerConfig(kind="word")}, "kind word.*does not give text back.*bpe"),
        ({"tokenizer": TokenizerConfig(kind="bpe", lowercase=True)}, "lowercase True"),
        ({"target_language": "en"}, "en"),
        ({"target_language": "fr"}, "fr"),
        ({"max_length": 4}, "every training pair exceeds max_length 4"),
        ({"predict_source": None}, "nothing to read"),
    ],
    ids=str,
)
def test_wrong_settings_are_answered(folder, settings, words):
    with pytest.raises(InputError, match=words):
        module = data(folder, **settings)
        assert module.splits
        list(module.predict_splits())


def test_a_pair_is_one_line_of_each_side(tmp_path):
    rows = [f'{{"en": "the red\\ndog {n}", "de": "der rote \\r\\n Hund {n}"}}' for n in range(60)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(rows) + "\n")
    train = data(tmp_path / "pairs.jsonl", cache_dir=str(tmp_path / "cache")).texts["train"]
    assert train.sources[0].startswith("the red dog ") and train.targets[0].startswith("der rote Hund ")
