"""Text to token ids: a tokenizer trained on the training split, or a pretrained one.

Decisions: training is done once and cached under a digest of what it depends on; the same texts and options give the
same ids in every process; every kind has the five special tokens of BERT at the same ids and frames a text as
`[CLS] ... [SEP]`, so that a model may pool the first token. Encoding goes straight to the tokenizers library: through
transformers' `PreTrainedTokenizerFast` the ids are the same, but encoding takes 1.4 times as long and decoding 7 times
as long, it does not tell how many texts were truncated, and its import takes seconds.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tokenizers
from tokenizers import Tokenizer

from app.datamodules.io.cache import make_once
from app.datamodules.tokenizers.training import CLS, MASK, PAD, SEP, SPECIAL_TOKENS, UNK, template, train_tokenizer
from app.errors import InputError
from app.progress import phase

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Texts are encoded once, before loader processes fork; threads of the library's own would make each of them warn.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

log = logging.getLogger(__name__)
_BYTES = 256


@dataclass(frozen=True)
class TokenizerConfig:
    """How texts become tokens.

    Args:
        kind: word (split at white space and around punctuation), bpe (byte-level, no unknown tokens), wordpiece (as
            in BERT), or pretrained.
        vocab_size: maximum size of the vocabulary, including the five special tokens; a small corpus gives fewer.
        lowercase: fold upper case before splitting; null for the usual: all kinds but bpe, which gives its text back.
        min_frequency: rarer words (bpe, wordpiece: rarer merges) get no entry of their own; with 1, word training
            never meets [UNK], which then keeps its initial embedding.
        pretrained: for kind pretrained, a folder or a name on the Hugging Face hub; the options above have no effect.

    Raises:
        InputError: for a value that is not allowed.
    """

    kind: Literal["word", "bpe", "wordpiece", "pretrained"] = "word"
    vocab_size: int = 20_000
    lowercase: bool | None = None
    min_frequency: int = 2
    pretrained: str | None = None

    def __post_init__(self) -> None:
        kinds = ("word", "bpe", "wordpiece", "pretrained")
        if self.kind not in kinds:
            raise InputError(f"tokenizer kind {self.kind!r}; allowed: {', '.join(kinds)}")
        if (self.kind == "pretrained") != bool(self.pretrained):
            raise InputError(
                f"tokenizer kind {self.kind} with pretrained {self.pretrained!r}; "
                "set pretrained (a folder or a hub name) with kind pretrained, and omit it otherwise"
            )
        least = len(SPECIAL_TOKENS) + (_BYTES if self.kind == "bpe" else 1)
        if self.vocab_size < least:
            raise InputError(f"tokenizer vocab_size is {self.vocab_size}; for kind {self.kind} it must be >= {least}")
        if self.min_frequency < 1:
            raise InputError(f"tokenizer min_frequency is {self.min_frequency}; it must be >= 1")
        if self.lowercase is None:
            object.__setattr__(self, "lowercase", self.kind != "bpe")

    @property
    def is_lossless(self) -> bool:
        """Whether ids give their text back, as far as this is known before a pretrained tokenizer is loaded."""
        return self.kind == "pretrained" or (self.kind == "bpe" and not self.lowercase)


class TextTokenizer:
    """A tokenizer of the tokenizers library, with what a datamodule needs of it.

    Args:
        core: does the work; adds the special tokens. It neither pads nor truncates between two calls.
        pad_id: id that pads batches; no text contains it.
        loaded: the Hugging Face tokenizer that `core` came from, if any; saved as it was loaded.
    """

    def __init__(
        self,
        core: Tokenizer,
        pad_id: int = SPECIAL_TOKENS.index(PAD),
        loaded: PreTrainedTokenizerBase | None = None,
    ) -> None:
        core.no_padding()
        core.no_truncation()
        self.core, self.pad_id, self._loaded = core, pad_id, loaded

    @classmethod
    def from_dict(cls, kept: dict[str, Any] | None, config: TokenizerConfig) -> TextTokenizer:
        """The tokenizer that `to_dict` was called on.

        Raises:
            InputError: for a pretrained one that cannot be loaded.
        """
        return train_or_load_tokenizer((), config) if kept is None else cls(Tokenizer.from_str(json.dumps(kept)))

    def to_dict(self) -> dict[str, Any] | None:
        """The content of its tokenizer.json; None for a pretrained tokenizer, which is loaded by its name again."""
        return None if self._loaded is not None else json.loads(self.core.to_str())

    @property
    def vocab_size(self) -> int:
        """Number of rows that an embedding needs: the largest id plus one."""
        return max(self.core.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def special_ids(self) -> dict[str, int]:
        """The special tokens that the config of a new model must know; that of a pretrained model knows more."""
        ids = {"pad_token_id": self.pad_id}
        if self._loaded is None:
            begin, end = SPECIAL_TOKENS.index(CLS), SPECIAL_TOKENS.index(SEP)
            return {**ids, "bos_token_id": begin, "eos_token_id": end, "decoder_start_token_id": begin}
        known = {"bos_token_id": self._loaded.bos_token_id, "eos_token_id": self._loaded.eos_token_id}
        return {**ids, **{name: token for name, token in known.items() if token is not None}}

    @property
    def digest(self) -> str:
        """A digest that is equal for tokenizers that give every text the same ids."""
        return hashlib.sha256(self.core.to_str().encode()).hexdigest()[:16]

    def encode(
        self, texts: Sequence[str], max_length: int | None = None, framed: bool = True
    ) -> tuple[list[list[int]], int]:
        """The ids of N texts, special tokens included.

        Args:
            texts: any strings; an empty one gives the special tokens alone.
            max_length: maximum number of ids of a text; a longer one is truncated at its end, and keeps the special
                tokens.
            framed: begin with [CLS]; sequence-to-sequence models only mark the end of a text. Pretrained tokenizers
                do what they were made to do.

        Returns:
            (N lists of ids, number of truncated texts).

        Raises:
            InputError: if max_length has no room for a token of the text.
        """
        framing = self.core.num_special_tokens_to_add(is_pair=False)
        skip = 0 if framed or self._loaded is not None else 1
        if max_length is not None:
            max_length += skip
        if max_length is not None and max_length <= framing:
            raise InputError(
                f"max_length is {max_length - skip}; it must be >= {framing + 1 - skip}: {framing - skip} are special "
                "tokens"
            )
        self.core.encode_special_tokens = True  # "[PAD]" inside a text is text; a pickled core forgets this
        if max_length is not None:
            self.core.enable_truncation(max_length)
        encodings = self.core.encode_batch(list(texts))
        self.core.no_truncation()
        return [encoding.ids[skip:] for encoding in encodings], sum(bool(e.overflowing) for e in encodings)

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The texts of N lists of ids, without special tokens; each is one line, whatever a model made up.

        With kind bpe, `decode(encode(text))` is the text except for white space: runs of it become one space.
        """
        texts = self.core.decode_batch([list(row) for row in ids], skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def save(self, folder: Path, max_length: int | None = None, framed: bool = True) -> None:
        """Write tokenizer.json and tokenizer_config.json, which `AutoTokenizer.from_pretrained(folder)` reads.

        Args:
            folder: created if it does not exist.
            max_length: maximum number of ids that the model takes; users of the tokenizer may truncate to it.
            framed: as in `encode`, so that it gives the same ids.
        """
        from transformers import PreTrainedTokenizerFast  # here, because it takes seconds to import

        saved = self._loaded
        if saved is None:
            core = self.core
            if not framed:
                core = Tokenizer.from_str(core.to_str())
                core.post_processor = template(f"$A {SEP}", f"$A {SEP} $B:1 {SEP}:1")
            names = {"pad_token": PAD, "unk_token": UNK, "cls_token": CLS, "sep_token": SEP, "mask_token": MASK}
            saved = PreTrainedTokenizerFast(
                tokenizer_object=core,
                split_special_tokens=True,
                model_input_names=["input_ids", "attention_mask"],  # all that our tasks give a model
                **names,
            )
        if max_length is not None:
            saved.model_max_length = max_length
        saved.save_pretrained(folder)


def train_or_load_tokenizer(
    texts: Iterable[str], config: TokenizerConfig, cache_dir: Path = Path("data/cache")
) -> TextTokenizer:
    """The tokenizer that `config` asks for, trained on `texts` unless it is pretrained or in the cache.

    Args:
        texts: the training split; ignored when the tokenizer is pretrained.
        config: see `TokenizerConfig`.
        cache_dir: trained tokenizers are kept in its folder tokenizers.

    Raises:
        InputError: if a pretrained tokenizer cannot be loaded or used, or vocab_size is too small for the alphabet.
    """
    if config.pretrained:
        return _load_pretrained(config.pretrained)
    texts = list(texts)
    key = _digest(texts, config)
    path = make_once(
        cache_dir / "tokenizers" / f"{config.kind}-{key[:32]}.json",
        lambda part: part.write_text(_train(texts, config).to_str(pretty=True), encoding="utf-8"),
    )
    tokenizer = TextTokenizer(Tokenizer.from_file(str(path)))
    log.info("tokenizer %s: %d entries, from %d texts, %s", config.kind, tokenizer.vocab_size, len(texts), path)
    return tokenizer


def _digest(texts: Iterable[str], config: TokenizerConfig) -> str:
    """A digest of all that a trained tokenizer depends on, the library's version included."""
    head = json.dumps({"tokenizers": tokenizers.__version__, **asdict(config)}, sort_keys=True)
    digest = hashlib.sha256(head.encode())
    for text in texts:
        content = text.encode()
        digest.update(b"%d:" % len(content))  # so that ["ab"] and ["a", "b"] differ
        digest.update(content)
    return digest.hexdigest()


@phase("training the tokenizer")
def _train(texts: list[str], config: TokenizerConfig) -> Tokenizer:
    assert config.kind != "pretrained" and config.lowercase is not None
    core = train_tokenizer(texts, config.kind, config.vocab_size, config.lowercase, config.min_frequency)
    if config.min_frequency > 1 and core.get_vocab_size() == len(SPECIAL_TOKENS):
        raise InputError(f"tokenizer min_frequency is {config.min_frequency}, but every word is rarer; lower it")
    return core


def _load_pretrained(name: str) -> TextTokenizer:
    from transformers import AutoTokenizer  # here, because it takes seconds to import
    from transformers.utils import logging as theirs

    verbosity = theirs.get_verbosity()
    theirs.set_verbosity_error()  # it warns about a config.json next to it whose model has norms of ours
    try:
        loaded = AutoTokenizer.from_pretrained(name, trust_remote_code=False, split_special_tokens=True)  # as `encode`
    except Exception as error:  # the hub, the library and the files of the folder raise almost any kind
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"tokenizer {name!r}: cannot be loaded ({reason}); check name and network") from error
    finally:
        theirs.set_verbosity(verbosity)
    core = getattr(loaded, "backend_tokenizer", None)
    if core is None:
        raise InputError(f"tokenizer {name!r}: has no tokenizer.json; allowed: tokenizers of the tokenizers library")
    if loaded.pad_token_id is not None:
        pad_id = loaded.pad_token_id
    elif loaded.eos_token_id is not None:
        pad_id = loaded.eos_token_id
        log.info("tokenizer %s has no padding token; its end-of-text token pads batches", name)
    else:
        raise InputError(f"tokenizer {name!r}: has neither a padding nor an end-of-text token; use one that has")
    return TextTokenizer(core, pad_id, loaded)
