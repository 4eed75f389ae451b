"""Treebanks to batches: what an encoded sentence holds, what is left out and said, what predict reads."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from app.batches import ParsingBatch
from app.datamodules import ParsingData
from app.datamodules.batching.batch_plan import PlanItem
from app.datamodules.parsing.conllu import read_conllu
from app.datamodules.parsing.projectivity import is_projective, projectivize
from app.datamodules.parsing.vocabularies import WordVocabulary
from app.datamodules.tokenizers.tokenizer import TokenizerConfig
from app.errors import InputError
from tests.stand_ins import write_treebank

SETTINGS = {"tags": "upos", "characters": True, "tokenizer": TokenizerConfig(kind="bpe", vocab_size=300)}
TEXT = """# sent_id = {name}
1\tThe\t_\tDET\tDT\t_\t2\tdet\t_\t_
2\tdog\t_\tNOUN\tNN\t_\t3\tnsubj:main\t_\t_
3\tsees\t_\tVERB\tVBZ\t_\t0\troot\t_\t_
4\t{last}\t_\tPUNCT\t.\t_\t3\t{relation}\t_\t_

"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("treebank")
    for seed, (part, count) in enumerate({"train": 60, "dev": 15, "test": 15}.items()):
        write_treebank(folder / f"x-{part}.conllu", count, seed)
    return folder


def data(source, tmp_path, **settings):
    return ParsingData("x", str(source), cache_dir=str(tmp_path / "cache"), **{**SETTINGS, **settings})


def everything(split):
    return split.batch(PlanItem(list(range(len(split.lengths))), int(split.units.sum()), False))


def test_a_batch_holds_the_trees_that_were_read(folder, tmp_path):
    module = data(folder, tmp_path)
    sentences = read_conllu(folder / "x-train.conllu")
    batch = everything(module.splits["train"])
    assert batch.lengths.tolist() == [len(sentence.forms) for sentence in sentences]
    assert batch.words.shape == batch.tags.shape == (60, max(batch.lengths) + 1)
    labels = module.data_spec.labels
    for row, sentence in enumerate(sentences):
        length = len(sentence.forms)
        assert batch.heads[row, :length].tolist() == list(sentence.heads)
        assert [labels[r] for r in batch.relations[row, :length]] == list(sentence.relations)
        assert batch.projective_heads[row, :length].tolist() == projectivize(sentence.heads)
        assert batch.is_word[row].sum() == length and (batch.heads[row, length:] == ParsingBatch.IGNORED).all()
        assert batch.scored[row, :length, 0].tolist() == [tag != "PUNCT" for tag in sentence.upos]
        assert not batch.scored[row, length:].any()
        of_word = batch.word_of_subword[row]
        assert of_word[0] == 0 and set(of_word.tolist()) - {batch.words.shape[1]} == set(range(length + 1))
        assert (batch.characters[row, 1:, 0] > 0).sum() == length
    assert (batch.words[:, 0] == batch.ROOT).all() and (batch.tags[:, 0] == batch.ROOT).all()
    assert batch.tokens == batch.real_words == sum(len(sentence.forms) for sentence in sentences)


def test_vocabularies_are_those_of_the_training_part():
    vocabulary = WordVocabulary.count("b a b c c c".split(), min_frequency=2)
    assert len(vocabulary) == 5 and vocabulary.encode(["c", "b", "a", "z"]).tolist() == [3, 4, 1, 1]


def test_what_is_not_asked_for_is_not_there(folder, tmp_path):
    module = data(folder, tmp_path, tags=None, characters=False, tokenizer=None)
    batch = everything(module.splits["val"])
    assert batch.tags is batch.characters is batch.input_ids is batch.word_of_subword is batch.attention_mask is None
    assert module.data_spec.features.keys() == {"words"} and module.data_spec.model_options == {}
    assert (module.splits["val"].lengths == batch.lengths.numpy() + 1).all()


def test_crossing_arcs_are_counted_and_left_out_if_asked(folder, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    sentences = read_conllu(folder / "x-train.conllu")
    words = sum(len(s.forms) for s in sentences)
    crossing = sum(not is_projective(s.heads) for s in sentences)
    assert crossing > 0
    assert len(data(folder, tmp_path).splits["train"].lengths) == 60
    left = data(folder, tmp_path, nonprojective="leave_out").splits["train"]
    assert len(left.lengths) == 60 - crossing
    assert f"x: read 60 train sentences of {words} words" in caplog.text
    assert f"crossing arcs: {crossing} of 60 train" in caplog.text and "left out" in caplog.text
    batch = everything(left)
    assert (batch.heads == batch.projective_heads).all()


def test_long_sentences_are_skipped_in_training_alone(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write_treebank(tmp_path / "train.conllu", 30, 5)
    for part in ("dev", "test"):
        write_treebank(tmp_path / f"{part}.conllu", 12, 6)
    module = data(tmp_path, tmp_path, tokenizer=None, max_length=7)
    words = [len(s.forms) for s in read_conllu(tmp_path / "train.conllu")]
    assert len(module.splits["train"].lengths) == sum(count + 1 <= 7 for count in words) < 30
    assert "training sentences of over 7 tokens" in caplog.text
    val = module.splits["val"]  # without subwords the model has no limit; tests/tasks/parsing has the others
    assert val.is_parsed.all() and val.lengths.max() > 7
    with pytest.raises(
        InputError, match=r"train.conllu:\d+ \(sentence s\d+\): is the shortest .* has 7 tokens, .* is 3; raise it"
    ):
        assert data(tmp_path, tmp_path, tokenizer=None, max_length=3).splits


def test_subtypes_may_be_cut(tmp_path):
    for part in ("train", "dev", "test"):
        (tmp_path / f"{part}.conllu").write_text(TEXT.format(name=part, last=".", relation="punct"))
    assert data(tmp_path, tmp_path).data_spec.labels == ("det", "nsubj:main", "punct", "root")
    assert data(tmp_path, tmp_path).data_spec.root_labels == (False, False, False, True)
    assert data(tmp_path, tmp_path, subtypes=False).data_spec.labels == ("det", "nsubj", "punct", "root")


def test_a_relation_that_training_lacks_is_ignored(tmp_path):
    for part, relation in (("train", "punct"), ("dev", "p"), ("test", "punct")):
        (tmp_path / f"{part}.conllu").write_text(TEXT.format(name=part, last=".", relation=relation))
    batch = everything(data(tmp_path, tmp_path).splits["val"])
    assert batch.relations.tolist() == [[0, 1, 3, ParsingBatch.IGNORED]]


def test_without_relations_arcs_alone_are_learned(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for part in ("train", "dev", "test"):
        text = TEXT.format(name=part, last=".", relation="_").replace("\tdet\t", "\t_\t")
        (tmp_path / f"{part}.conllu").write_text(text.replace("nsubj:main", "_").replace("root", "_"))
    module = data(tmp_path, tmp_path)
    assert module.data_spec.labels == () and "3 sentences have no relations" in caplog.text
    assert everything(module.splits["train"]).relations.tolist() == [[0, 0, 0, 0]]


def test_punctuation_goes_by_ptb_tags_where_there_is_no_upos(tmp_path):
    for part in ("train", "dev", "test"):
        text = TEXT.format(name=part, last=".", relation="punct")
        for tag in ("DET", "NOUN", "VERB", "PUNCT"):
            text = text.replace(f"\t{tag}\t", "\t_\t")
        (tmp_path / f"{part}.conllu").write_text(text)
    batch = everything(data(tmp_path, tmp_path, tags="xpos", score_without=["punct", "det"]).splits["test"])
    assert batch.scored[0].tolist() == [[True, False], [True, True], [True, True], [False, True]]


def test_equal_data_has_equal_fingerprints(folder, tmp_path):
    one, two = data(folder, tmp_path), data(folder, tmp_path)
    assert one.fingerprint == two.fingerprint != data(folder, tmp_path, tags=None).fingerprint


def test_predict_reads_conllu_text_and_standard_input(folder, tmp_path, monkeypatch, caplog):
    text = tmp_path / "in.txt"
    text.write_text("The dog sees the house.\n\n  the tree  likes it!\n")
    (split,) = data(folder, tmp_path, predict_source=str(text)).predict_splits()
    assert [s.forms for s in split.sentences] == [
        ("The", "dog", "sees", "the", "house", "."), ("the", "tree", "likes", "it", "!"),
    ]  # fmt: skip
    assert "reads upos, but the input has none" in caplog.text
    (split,) = data(folder, tmp_path, predict_source=str(folder / "x-test.conllu")).predict_splits()
    assert len(split.sentences) == 15 and split.subset(np.array([3])).sentences == [split.sentences[3]]

    monkeypatch.setattr(ParsingData, "predict_chunk_size", 4)
    pieces = data(folder, tmp_path, predict_source=str(folder / "x-test.conllu")).predict_splits()
    cut = list(pieces)
    assert [len(part.sentences) for part in cut] == [4, 4, 4, 3] and pieces.total == 15
    assert [s for part in cut for s in part.sentences] == split.sentences
    assert data(folder, tmp_path, predict_source=str(text)).predict_splits().total == 2

    def comes(*pieces):
        read = iter([*pieces, b""])
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=SimpleNamespace(read1=lambda size: next(read))))

    comes((folder / "x-test.conllu").read_bytes())
    splits = list(data(folder, tmp_path, predict_source="-", predict_format="conllu").predict_splits())
    assert sum(len(split.sentences) for split in splits) == 15
    comes(b"a dog sees\n", b"the tree\n")
    caplog.clear()
    splits = list(data(folder, tmp_path, predict_source="-").predict_splits())
    assert len(splits) == 2 and caplog.text.count("the input has none") == 1
    assert [s.forms for split in splits for s in split.sentences] == [("a", "dog", "sees"), ("the", "tree")]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_length": 2}, "data.max_length is 2; it must be >= 3"),
        ({"min_frequency": 0}, "data.min_frequency is 0"),
        ({"score_without": ["punkt"]}, "score_without names 'punkt'; allowed: punct and the relations.*advmod, amod"),
        ({"predict_source": None}, "nothing to read"),
        ({"predict_source": "nowhere.txt"}, "nowhere.txt"),
        ({"split_modulo": 2}, "split_modulo"),
    ],
)
def test_wrong_settings_are_answered(folder, tmp_path, settings, words):
    with pytest.raises(InputError, match=words):
        module = data(folder / "x-train.conllu" if "split_modulo" in settings else folder, tmp_path, **settings)
        assert module.splits
        list(module.predict_splits())


def test_leaving_out_every_training_sentence_is_refused(tmp_path):
    for part in ("train", "dev", "test"):
        crossing = TEXT.format(name=part, last=".", relation="p").replace("\t2\tdet", "\t3\tdet")
        (tmp_path / f"{part}.conllu").write_text(crossing.replace("\t3\tnsubj", "\t4\tnsubj"))
    assert len(data(tmp_path, tmp_path).splits["train"].lengths) == 1
    with pytest.raises(InputError, match="leave_out, but all 1 training sentences have crossing arcs; set it to keep"):
        assert data(tmp_path, tmp_path, nonprojective="leave_out").splits


def test_names_of_scores_are_parts_of_keys(tmp_path):
    for part in ("train", "dev", "test"):
        (tmp_path / f"{part}.conllu").write_text(TEXT.format(name=part, last=".", relation="a.b/c"))
    assert data(tmp_path, tmp_path, score_without=["a.b/c", "nsubj:main"]).data_spec.score_groups == (
        "a_b_c",
        "nsubj:main",
    )


def test_the_vocabulary_is_another_where_a_word_is(folder, tmp_path):
    def vocabulary(source, **settings):
        return data(source, tmp_path, tokenizer=None, **settings).data_spec.vocabulary

    for part in ("train", "dev", "test"):
        (tmp_path / f"{part}.conllu").write_text((folder / f"x-{part}.conllu").read_text().replace("dog", "wolf"))
    assert vocabulary(folder) == vocabulary(folder) != vocabulary(tmp_path)
    assert len({vocabulary(folder), vocabulary(folder, tags="xpos"), vocabulary(folder, characters=False)}) == 3


def test_tags_that_the_data_lacks_are_asked_for_in_vain(tmp_path):
    for part in ("train", "dev", "test"):
        (tmp_path / f"{part}.conllu").write_text(
            TEXT.format(name=part, last=".", relation="p").replace("\tDET\t", "\t_\t")
        )
    assert data(tmp_path, tmp_path).data_spec.features["tags"] == 3 + 4  # "_" is one of them
    for part in ("train", "dev", "test"):
        text = TEXT.format(name=part, last=".", relation="p")
        for tag in ("DET", "NOUN", "VERB", "PUNCT"):
            text = text.replace(f"\t{tag}\t", "\t_\t")
        (tmp_path / f"{part}.conllu").write_text(text)
    with pytest.raises(InputError, match="data.tags is upos, but the training split has none"):
        assert data(tmp_path, tmp_path).data_spec
