"""Sentences that are too long for the encoder: none stops a run, or is lost from a score or from predictions."""

import torch
from udtools.state import State
from udtools.validator import Validator

from app.backbones import BackboneConfig
from app.datamodules import ParsingData
from app.datamodules.parsing.conllu import read_conllu
from app.datamodules.tokenizers.tokenizer import TokenizerConfig
from app.norms import NormSpec
from app.tasks import DependencyParsing
from app.tasks.base import totals
from app.tasks.optimization import OptimizerConfig
from app.tasks.parsing.biaffine import BiaffineConfig
from tests.stand_ins import write_treebank

LONGEST = 10  # subwords; the shortest sentences of the grammar have 6 words
TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def test_they_keep_their_place_and_their_words_count_as_wrong(tmp_path, caplog):
    for seed, (part, count) in enumerate({"train": 40, "dev": 9, "test": 25}.items()):
        write_treebank(tmp_path / f"{part}.conllu", count, seed)
    gold = read_conllu(tmp_path / "test.conllu")
    data = ParsingData(
        "x", str(tmp_path), tokenizer=TokenizerConfig("word", min_frequency=1), max_length=LONGEST, batch_tokens=20,
        eval_batch_factor=1, cache_dir=str(tmp_path), predict_source=str(tmp_path / "test.conllu"),
    )  # fmt: skip
    backbone = BackboneConfig("bert", {**TINY, "max_position_embeddings": LONGEST})
    model = DependencyParsing(
        backbone=backbone, optimizer=OptimizerConfig(), norm=NormSpec.parse("layernorm"), data_spec=data.data_spec,
        biaffine=BiaffineConfig(arcs=8, relations=8),
    ).eval()  # fmt: skip
    is_parsed = [len(sentence.forms) + 2 <= LONGEST for sentence in gold]
    assert 3 < sum(is_parsed) < 20

    with torch.no_grad():
        found = [
            p for chunk in data.predict_splits() for b in data.eval_loader(chunk) for p in model.predict_step(b, 0)
        ]
        counts = [totals(model.evaluate(b, "test")) for b in data.eval_loader(data.splits["test"])]
    found.sort(key=lambda prediction: prediction.index)
    (tmp_path / "out.conllu").write_text("".join(f"{prediction.answer}\n" for prediction in found))
    with open(tmp_path / "out.conllu", encoding="utf-8") as file:
        assert Validator(lang="ud", level=1, output=None).validate_file_handle(file, State()).error_counter == {}
    written = read_conllu(tmp_path / "out.conllu", trees=False)
    assert [sentence.forms for sentence in written] == [sentence.forms for sentence in gold]
    for sentence, parsed, prediction in zip(written, is_parsed, found, strict=True):
        columns = [sentence.lines[line].split("\t") for line in sentence.word_lines]
        assert [row[6:8] == ["_", "_"] for row in columns] == [not parsed] * len(columns)
        assert (prediction.known["heads"] is None) == (not parsed)

    right = sum(
        one == other
        for sentence, prediction in zip(gold, found, strict=True)
        for one, other in zip(sentence.heads, prediction.known["heads"] or [None] * 99, strict=False)
    )
    whole = {name: [int(sum(c[name][i] for c in counts)) for i in (0, 1)] for name in counts[0]}
    words = sum(len(sentence.forms) for sentence in gold)
    assert whole["uas"] == [right, words] and whole["las"][1] == whole["uas_of_next"][1] == words
    assert whole["uas_without_punct"][1] == sum(tag != "PUNCT" for sentence in gold for tag in sentence.upos)
    assert whole["match"][1] == 25 and whole["match"][0] <= sum(is_parsed)
    assert whole["loss"][1] == sum(len(s.forms) for s, parsed in zip(gold, is_parsed, strict=True) if parsed)
    said = f"x: test: {25 - sum(is_parsed)} of 25 sentences ({words - whole['loss'][1]} words) have over 10 tokens"
    assert said in caplog.text and "are written without a tree; the first is" in caplog.text
