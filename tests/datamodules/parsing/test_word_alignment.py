"""Words to subwords: each word has its own, in order, whatever the tokenizer."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from app.datamodules.parsing.word_alignment import NO_WORD, encode_words
from app.datamodules.tokenizers.tokenizer import TextTokenizer, TokenizerConfig, train_or_load_tokenizer
from app.errors import InputError

SENTENCES = [["The", "well-made", "house", "isn't", "[PAD]", "..."], ["ünüm", "x"], ["a"]]


@pytest.fixture(params=["word", "bpe", "wordpiece"])
def tokenizer(request, tmp_path):
    texts = [" ".join(words) for words in SENTENCES] * 3
    return train_or_load_tokenizer(texts, TokenizerConfig(kind=request.param, vocab_size=300), tmp_path)


def test_each_word_has_its_subwords_in_order(tokenizer):
    for words, (ids, of_word) in zip(SENTENCES, encode_words(tokenizer, SENTENCES), strict=True):
        assert len(ids) == len(of_word) and of_word[0] == 0 and of_word[-1] == NO_WORD
        inner = of_word[1:-1]
        assert (np.diff(inner) >= 0).all() and set(inner.tolist()) == set(range(1, len(words) + 1))
        for number, word in enumerate(words, start=1):
            alone = encode_words(tokenizer, [[word]])[0]
            assert ids[of_word == number].tolist() == alone.ids[1:-1].tolist()


def test_a_special_token_in_a_text_is_text(tokenizer):
    ids, of_word = encode_words(tokenizer, [["[PAD]"]])[0]
    assert tokenizer.pad_id not in ids[of_word == 1]


def test_a_word_of_which_nothing_is_left_is_unknown(tmp_path):
    tokenizer = train_or_load_tokenizer(["a b"] * 3, TokenizerConfig(kind="wordpiece", vocab_size=60), tmp_path)
    unknown = tokenizer.core.token_to_id("[UNK]")
    ids, of_word = encode_words(tokenizer, [["\u00ad\u200b", "a", "\u200b"]])[0]  # BERT drops control characters
    assert of_word.tolist() == [0, 1, 2, 3, NO_WORD]
    assert ids[1] == ids[3] == unknown != ids[2]


def test_a_tokenizer_without_a_special_token_in_front_is_refused():
    core = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    core.pre_tokenizer, core.normalizer = pre_tokenizers.Whitespace(), normalizers.Lowercase()
    with pytest.raises(InputError, match="no special token before a sentence"):
        encode_words(TextTokenizer(core, pad_id=0), [["a"]])
