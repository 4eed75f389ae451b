"""Tokenizers: what they give, that they are the same every time, and that Hugging Face reads what is saved."""

import json
import logging
import multiprocessing
import os
import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.datamodules.tokenizers import tokenizer as subject
from app.datamodules.tokenizers.tokenizer import SPECIAL_TOKENS, TokenizerConfig, train_or_load_tokenizer
from app.errors import InputError

PAD, UNK, CLS, SEP, MASK = range(5)
KINDS = ("word", "bpe", "wordpiece")
TEXTS = ["the film is a joy .", "The film is a bore .", "a joy , the joy of it", "naïve 映画 café"]
SIZES = {"word": 50, "bpe": 300, "wordpiece": 90}


def trained(kind: str, cache_dir, texts=TEXTS, **options):
    config = TokenizerConfig(kind=kind, **{"vocab_size": SIZES[kind], "min_frequency": 1, **options})
    return train_or_load_tokenizer(texts, config, cache_dir)


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_stand_first_and_frame_a_text(tmp_path, kind):
    tokenizer = trained(kind, tmp_path)
    assert [tokenizer.core.id_to_token(number) for number in range(5)] == list(SPECIAL_TOKENS)
    assert tokenizer.pad_id == PAD
    ids, cut = tokenizer.encode(["a joy", "", "[PAD] [SEP] [MASK]"])
    assert cut == 0
    assert all(sentence[0] == CLS and sentence[-1] == SEP for sentence in ids)
    assert ids[1] == [CLS, SEP]
    assert not {PAD, CLS, SEP, MASK} & set(ids[2][1:-1])  # what stands in a text is text
    assert max(map(max, ids)) < tokenizer.vocab_size


def test_words_are_numbered_by_frequency_and_unknown_ones_are_unk(tmp_path):
    tokenizer = trained("word", tmp_path, ["b b b a a C c", "d"], min_frequency=2)
    assert tokenizer.encode(["b a c  B A C\td", "e"])[0] == [[CLS, 5, 6, 7, 5, 6, 7, UNK, SEP], [CLS, UNK, SEP]]
    assert tokenizer.vocab_size == 8
    assert trained("word", tmp_path, ["b b b a a c c"], vocab_size=6).encode(["b a"])[0] == [[CLS, 5, UNK, SEP]]
    cased = trained("word", tmp_path, ["b b B"], lowercase=False)
    assert cased.encode(["b B"])[0] == [[CLS, 5, 6, SEP]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's a well-made film, isn't it?", "it's a well-made film , isn't it ?"),
        ('"Wow!" -- the U.S. critics...', '" wow ! " -- the u.s . critics ...'),
        ("it does n't know the film 's end .", "it does n't know the film 's end ."),  # as SST is published
        ("naïve l’amour 2½", "naïve l’amour 2½"),
    ],
)
def test_raw_text_and_tokenised_text_have_the_same_words(tmp_path, text, words):
    core = trained("word", tmp_path, [text]).core
    for version in (text, words):
        pieces = core.pre_tokenizer.pre_tokenize_str(core.normalizer.normalize_str(version))
        assert [piece for piece, _ in pieces] == words.split()


@given(text=st.text())
def test_words_lose_nothing_but_white_space(tmp_path_factory, text):
    pieces = trained("word", tmp_path_factory.getbasetemp() / "w").core.pre_tokenizer.pre_tokenize_str(text)
    left, whole = ("".join(part.split()) for part in ("".join(piece for piece, _ in pieces), text))
    assert left == whole


def test_wordpiece_cuts_unknown_words_into_known_pieces(tmp_path):
    tokenizer = trained("wordpiece", tmp_path, ["play play playing playing ing"])
    tokens = [tokenizer.core.id_to_token(number) for number in tokenizer.encode(["Playing! inlay"])[0][0]]
    assert tokens[:3] == ["[CLS]", "playing", "[UNK]"]
    assert "".join(tokens[3:-1]).replace("##", "") == "inlay"


@given(text=st.text())
def test_bpe_loses_nothing(tmp_path_factory, text):
    tokenizer = trained("bpe", tmp_path_factory.getbasetemp() / "bpe", lowercase=False)
    ids = tokenizer.encode([text])[0][0]
    assert UNK not in ids
    assert tokenizer.core.decode(ids).removeprefix(" ") == text.removeprefix(" ")


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_corpus_gives_a_small_vocabulary(tmp_path, kind):
    assert 5 < trained(kind, tmp_path, vocab_size=5000).vocab_size < 1000
    assert trained(kind, tmp_path, [], vocab_size=5000).vocab_size == (261 if kind == "bpe" else 5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_is_no_larger_than_asked(tmp_path, kind):
    size = {"word": 10, "bpe": 270, "wordpiece": 50}[kind]
    assert trained(kind, tmp_path, vocab_size=size).vocab_size == size


@pytest.mark.parametrize("kind", KINDS)
def test_long_texts_are_cut_before_the_last_token_and_counted(tmp_path, kind):
    tokenizer = trained(kind, tmp_path)
    texts = ["a", "a joy , the joy of it", "a joy , the joy of it the film is a joy ."]
    whole, none = tokenizer.encode(texts)
    limit = len(whole[1])
    ids, cut = tokenizer.encode(texts, max_length=limit)
    assert (none, cut) == (0, 1)
    assert ids == [whole[0], whole[1], [*whole[2][: limit - 1], SEP]]
    assert tokenizer.encode(texts)[0] == whole  # one call's limit is not the next one's
    assert all(len(sentence) == 3 for sentence in tokenizer.encode(texts, max_length=3)[0])
    with pytest.raises(InputError, match="max_length is 2; it must be >= 3"):
        tokenizer.encode(texts, max_length=2)


@pytest.mark.parametrize("kind", KINDS)
def test_training_again_gives_the_same_tokenizer(tmp_path, kind):
    # syllables make words, so that many merges tie; the library's own wordpiece differs from call to call here
    draw = random.Random(0)
    texts = [" ".join("".join(draw.choices("abcdefghij", k=4)) for _ in range(8)) for _ in range(40)]
    models = {trained(kind, tmp_path / str(n), texts, vocab_size=400).core.to_str() for n in range(6)}
    assert len(models) == 1


def test_training_happens_once_for_the_same_texts_and_options(tmp_path, monkeypatch):
    calls = []
    train = subject._train
    monkeypatch.setattr(subject, "_train", lambda *arguments: calls.append(arguments) or train(*arguments))
    first = trained("word", tmp_path)
    assert trained("word", tmp_path, iter(TEXTS)).core.to_str() == first.core.to_str()
    assert len(calls) == 1
    trained("word", tmp_path, TEXTS[:-1])
    trained("word", tmp_path, ["".join(TEXTS)])
    trained("word", tmp_path, lowercase=False)
    trained("word", tmp_path, min_frequency=2)
    trained("word", tmp_path, vocab_size=40)
    assert len(calls) == 6
    assert len(list((tmp_path / "tokenizers").glob("[!.]*"))) == 6


def test_processes_that_start_together_train_once(tmp_path, monkeypatch):
    context = multiprocessing.get_context("fork")
    start, calls = context.Barrier(3), context.Value("i", 0)
    train = subject._train

    def counted(*arguments):
        with calls.get_lock():
            calls.value += 1
        return train(*arguments)

    monkeypatch.setattr(subject, "_train", counted)

    def one_rank() -> None:
        start.wait(timeout=20)
        os._exit(0 if trained("wordpiece", tmp_path).encode(["a joy"])[0][0][0] == CLS else 1)

    ranks = [context.Process(target=one_rank, daemon=True) for _ in range(3)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(timeout=30)
    assert [rank.exitcode for rank in ranks] == [0, 0, 0]
    assert calls.value == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model_type", [None, "bert", "gpt2"])
def test_a_saved_tokenizer_is_the_same_to_hugging_face_and_to_us(tmp_path, kind, model_type):
    from transformers import AutoTokenizer

    tokenizer = trained(kind, tmp_path)
    texts = [*TEXTS, "", "[SEP] [PAD] The", "unseen Wörter!", "a . b , c ' d n't"]
    ids = tokenizer.encode(texts)[0]
    tokenizer.encode(texts, max_length=3)
    tokenizer.save(tmp_path / "saved", max_length=6)
    if model_type:  # a folder with a model in it, whose own kind of tokenizer is another one
        (tmp_path / "saved" / "config.json").write_text(json.dumps({"model_type": model_type}))
    theirs = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert theirs(texts).input_ids == ids
    assert (theirs.pad_token_id, theirs.cls_token_id, theirs.sep_token_id, theirs.model_max_length) == (
        PAD,
        CLS,
        SEP,
        6,
    )
    assert theirs(TEXTS[0], truncation=True).input_ids == [*ids[0][:5], SEP]
    config = TokenizerConfig(kind="pretrained", pretrained=str(tmp_path / "saved"))
    ours = train_or_load_tokenizer([], config, tmp_path / "unused")
    assert ours.encode(texts)[0] == ids
    assert (ours.pad_id, ours.vocab_size) == (tokenizer.pad_id, tokenizer.vocab_size)
    ours.save(tmp_path / "again")
    assert AutoTokenizer.from_pretrained(tmp_path / "again")(texts).input_ids == ids
    assert not (tmp_path / "unused").exists()


def test_what_is_saved_does_not_depend_on_the_calls_before(tmp_path):
    tokenizer = trained("word", tmp_path)
    tokenizer.save(tmp_path / "before")
    tokenizer.encode(TEXTS, max_length=3)
    tokenizer.save(tmp_path / "after")
    before, after = ((tmp_path / folder / "tokenizer.json").read_bytes() for folder in ("before", "after"))
    assert before == after


def test_a_tokenizer_survives_pickling(tmp_path):
    tokenizer = trained("word", tmp_path)
    texts = [*TEXTS, "[PAD]"]
    assert pickle.loads(pickle.dumps(tokenizer)).encode(texts) == tokenizer.encode(texts)


def pretrained_without(tmp_path, *missing: str) -> TokenizerConfig:
    trained("word", tmp_path).save(tmp_path / "saved")
    path = tmp_path / "saved" / "tokenizer_config.json"
    options = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in options.items() if key not in missing}))
    return TokenizerConfig(kind="pretrained", pretrained=str(tmp_path / "saved"))


def test_without_a_padding_token_the_end_of_text_fills_up(tmp_path, caplog):
    config = pretrained_without(tmp_path, "pad_token")
    path = tmp_path / "saved" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token": "[SEP]"}))
    with caplog.at_level(logging.INFO):
        assert train_or_load_tokenizer([], config).pad_id == SEP
    assert any("no padding token" in record.getMessage() for record in caplog.records)


def test_a_pretrained_tokenizer_that_cannot_be_used_is_refused(tmp_path, monkeypatch):
    import huggingface_hub.constants

    with pytest.raises(InputError, match="neither a padding nor an end-of-text token"):
        train_or_load_tokenizer([], pretrained_without(tmp_path, "pad_token"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    for name in (str(tmp_path / "empty"), str(tmp_path / "missing"), "owner/missing"):
        with pytest.raises(InputError, match="cannot be loaded") as caught:
            train_or_load_tokenizer([], TokenizerConfig(kind="pretrained", pretrained=name))
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "words"}, "kind 'words'; allowed: word, bpe, wordpiece, pretrained"),
        ({"kind": "pretrained"}, "set pretrained"),
        ({"kind": "word", "pretrained": "bert-base-uncased"}, "set pretrained"),
        ({"vocab_size": 5}, "vocab_size is 5; for kind word it must be >= 6"),
        ({"kind": "bpe", "vocab_size": 260}, "vocab_size is 260; for kind bpe it must be >= 261"),
        ({"min_frequency": 0}, "min_frequency is 0; it must be >= 1"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        TokenizerConfig(**options)


def test_wordpiece_needs_room_for_the_letters(tmp_path):
    with pytest.raises(InputError, match="must be >= 8: the letters of the texts"):
        trained("wordpiece", tmp_path, ["ab b"], vocab_size=7)
    assert trained("wordpiece", tmp_path, ["ab b"], vocab_size=8).vocab_size == 8
