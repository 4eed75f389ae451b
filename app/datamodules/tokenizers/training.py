"""Training of tokenizers: words, byte-level BPE, and WordPiece as in BERT."""

from __future__ import annotations

from typing import Any, Literal

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from app.errors import InputError

PAD, UNK, CLS, SEP, MASK = SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0 to 4
# A word with what may be inside it (it's, well-made, u.s, n't, 's), or a run of one punctuation mark (--, ...). Text
# that was tokenised before it was published stays as it is: fewer than 1 % of the tokens of RT and SST are split again.
_WORD = r"['’]?\w+(?:['’.&-]\w+)*|([^\w\s])\1*"


def train_tokenizer(
    texts: list[str], kind: Literal["word", "bpe", "wordpiece"], vocab_size: int, lowercase: bool, min_frequency: int
) -> Tokenizer:
    """Train a tokenizer; equal arguments give an equal one, in every process.

    Args:
        texts: the texts to learn from.
        kind: see `TokenizerConfig`, as for the options below.
        vocab_size: maximum size of the vocabulary.
        lowercase: fold upper case.
        min_frequency: rarer words or merges get no entry.

    Raises:
        InputError: if vocab_size is too small for the alphabet.
    """
    options: dict[str, Any] = {"vocab_size": vocab_size, "min_frequency": min_frequency, "show_progress": False}
    if kind == "wordpiece":
        core = _train_wordpiece(texts, lowercase, options)
    else:
        words = kind == "word"
        core = Tokenizer(models.WordLevel(unk_token=UNK) if words else models.BPE())
        if lowercase:
            core.normalizer = normalizers.Lowercase()
        core.pre_tokenizer = _word_splitter() if words else pre_tokenizers.ByteLevel()
        if words:
            trainer: Any = trainers.WordLevelTrainer(special_tokens=list(SPECIAL_TOKENS), **options)
        else:
            core.decoder = decoders.ByteLevel()
            alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
            trainer = trainers.BpeTrainer(special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, **options)
        core.train_from_iterator(texts, trainer)
    core.post_processor = template(f"{CLS} $A {SEP}", f"{CLS} $A {SEP} $B:1 {SEP}:1")
    return core


def template(single: str, pair: str) -> processors.PostProcessor:
    """The post-processor that puts [CLS] and [SEP] around a text and around a pair of texts."""
    tokens = [(token, SPECIAL_TOKENS.index(token)) for token in (CLS, SEP)]
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=tokens)


def _word_splitter() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(_WORD), "removed", invert=True)  # keeps what matches


def _train_wordpiece(texts: list[str], lowercase: bool, options: dict[str, Any]) -> Tokenizer:
    """WordPiece as in BERT, the same in every process.

    The library's trainer numbers the letters inside words (`##a`) in the order of a hash table, which differs between
    processes, and breaks ties between merges by these numbers. Listed beforehand, they have a fixed order; the only way
    to list them is as special tokens. In the tokenizer that is returned, they are ordinary entries.
    """
    core = Tokenizer(models.WordPiece(unk_token=UNK))
    core.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    letters: set[str] = set()
    inner: set[str] = set()
    for piece in {piece for text in texts for piece in text.split(" ")}:  # a set, because this loop is slow
        for word, _ in core.pre_tokenizer.pre_tokenize_str(core.normalizer.normalize_str(piece)):
            letters.update(word)
            inner.update(word[1:])
    named = [*SPECIAL_TOKENS, *(f"##{letter}" for letter in sorted(inner))]
    if options["vocab_size"] < len(named) + len(letters):
        least = len(named) + len(letters)
        raise InputError(
            f"tokenizer vocab_size is {options['vocab_size']}; it must be >= {least}: the letters of the texts need it"
        )
    trainer = trainers.WordPieceTrainer(special_tokens=named, **options)
    core.train_from_iterator(texts, trainer)
    trained = Tokenizer(models.WordPiece(vocab=core.get_vocab(), unk_token=UNK))
    trained.normalizer, trained.pre_tokenizer = core.normalizer, core.pre_tokenizer
    trained.decoder = decoders.WordPiece()
    trained.add_special_tokens(list(SPECIAL_TOKENS))
    return trained
