"""Training of tokenizers on texts: words, byte-level BPE, BERT's pieces."""

from __future__ import annotations

from typing import Any, Literal

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from app.errors import InputError

PAD, UNK, CLS, SEP, MASK = SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0 to 4
# A word with what may stand inside it (it's, well-made, u.s, n't, 's), or a run of one punctuation mark (--, ...). Text
# that was tokenised before it was published stays as it is: of RT's and SST's tokens, fewer than 1 % are cut again.
_WORD = r"['’]?\w+(?:['’.&-]\w+)*|([^\w\s])\1*"


def train_tokenizer(
    texts: list[str], kind: Literal["word", "bpe", "wordpiece"], vocab_size: int, lowercase: bool, min_frequency: int
) -> Tokenizer:
    """The tokenizer of the texts: equal for equal arguments, in every process.

    Args:
        texts: to learn from.
        kind: word, bpe or wordpiece, as `TokenizerConfig` says, and the others as there.
        vocab_size: most entries.
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
    """What puts [CLS] and [SEP] around a text and a pair of texts."""
    tokens = [(token, SPECIAL_TOKENS.index(token)) for token in (CLS, SEP)]
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=tokens)


def _word_splitter() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(_WORD), "removed", invert=True)  # what matches is kept, white space goes


def _train_wordpiece(texts: list[str], lowercase: bool, options: dict[str, Any]) -> Tokenizer:
    """BERT's own pieces, the same in every process.

    The library's trainer numbers the letters inside words (`##a`) as it comes upon them in a hash table, whose order
    differs from process to process, and settles ties between merges by these numbers. Named beforehand, they have a
    fixed order; they are named as special tokens, the only way in, and are ordinary entries in the tokenizer returned.
    """
    core = Tokenizer(models.WordPiece(unk_token=UNK))
    core.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    letters: set[str] = set()
    inner: set[str] = set()
    for piece in {piece for text in texts for piece in text.split(" ")}:  # distinct ones, because this loop is slow
        for word, _ in core.pre_tokenizer.pre_tokenize_str(core.normalizer.normalize_str(piece)):
            letters.update(word)
            inner.update(word[1:])
    named = [*SPECIAL_TOKENS, *(f"##{letter}" for letter in sorted(inner))]
    if options["vocab_size"] < len(named) + len(letters):
        least = len(named) + len(letters)
        raise InputError(f"tokenizer vocab_size {options['vocab_size']}; the letters of these texts alone need {least}")
    trainer = trainers.WordPieceTrainer(special_tokens=named, **options)
    core.train_from_iterator(texts, trainer)
    trained = Tokenizer(models.WordPiece(vocab=core.get_vocab(), unk_token=UNK))
    trained.normalizer, trained.pre_tokenizer = core.normalizer, core.pre_tokenizer
    trained.decoder = decoders.WordPiece()
    trained.add_special_tokens(list(SPECIAL_TOKENS))
    return trained
