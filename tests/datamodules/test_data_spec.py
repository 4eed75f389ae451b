"""What a run keeps for predict: with it, and without any data, records become the batches that they were before."""

import dataclasses
import json

import pytest
import torch

from app.datamodules import ByteData, ImageClassificationData, ParsingData, TextClassificationData, TranslationData
from app.datamodules.tokenizers.tokenizer import TokenizerConfig
from tests.stand_ins import write_treebank

BPE, WORDPIECE = TokenizerConfig("bpe", vocab_size=300), TokenizerConfig("wordpiece", vocab_size=200)
LINES = "a warm funny film\n\nthe red dog sees a House .\n"
MODULES = {
    "text": (TextClassificationData, "tiny_texts", {"label_column": "category"}),
    "text in pieces of words": (TextClassificationData, "tiny_texts", {"tokenizer": WORDPIECE}),
    "images": (ImageClassificationData, "tiny_images", {}),
    "pairs": (
        TranslationData, "tiny_pairs", {"source_language": "en", "target_language": "de", "tokenizer": BPE},
    ),
    "bytes": (ByteData, "tiny_bytes", {"segment": 32}),
    "streams of bytes": (ByteData, "tiny_bytes", {"memory": True}),
    "trees": (ParsingData, "tiny_trees", {"tags": "upos", "subtypes": False}),
    "trees over subwords": (ParsingData, "tiny_trees", {"tokenizer": WORDPIECE, "characters": True}),
}  # fmt: skip


def fields(batch):
    return {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch) if f.name != "writers"}


@pytest.mark.parametrize("which", MODULES)
def test_what_is_kept_is_enough_to_predict(which, request, tmp_path):
    cls, data, settings = MODULES[which]
    source = tmp_path / "in.txt"
    if data == "tiny_images":
        source = request.getfixturevalue(data) / "t10k-images-idx3-ubyte.gz"
    elif data == "tiny_trees":
        source = tmp_path / "in.conllu"
        write_treebank(source, 5, seed=1)
    else:
        source.write_text(LINES)
    settings = {**settings, "predict_source": str(source)}
    first = cls("x", str(request.getfixturevalue(data)), cache_dir=str(tmp_path / "cache"), **settings)
    kept = json.loads(json.dumps(first.export_spec()))
    second = cls("x", "nowhere", cache_dir=str(tmp_path / "none"), **settings)
    second.restore_spec(kept)
    assert dataclasses.replace(second.data_spec, decode=None) == dataclasses.replace(first.data_spec, decode=None)
    (one,), (other,) = first.predict_splits(), second.predict_splits()
    for batch, same in zip(first.eval_loader(one), second.eval_loader(other), strict=True):
        for name, value in fields(batch).items():
            again = fields(same)[name]
            assert torch.equal(value, again) if isinstance(value, torch.Tensor) else value == again, name
    assert second.export_spec() == kept
    assert not (tmp_path / "none").exists()


def test_ids_become_the_same_text_again(tiny_pairs, tmp_path):
    _, _, settings = MODULES["pairs"]
    first = TranslationData("x", str(tiny_pairs), cache_dir=str(tmp_path), **settings)
    second = TranslationData("x", "nowhere", **settings)
    second.restore_spec(json.loads(json.dumps(first.export_spec())))
    ids = first.splits["val"].target.ids
    assert second.data_spec.decode(ids) == first.data_spec.decode(ids) == first.splits["val"].target.texts
