"""A tokenizer in plain types, for a run folder to keep, and back."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer

from app.datamodules.tokenizers.tokenizer import TextTokenizer, TokenizerConfig, train_or_load_tokenizer
from app.datamodules.tokenizers.training import PAD, SPECIAL_TOKENS


def serialize_tokenizer(tokenizer: TextTokenizer, config: TokenizerConfig) -> dict[str, Any] | None:
    """The content of a tokenizer.json; None for a pretrained one, which is where it was found before."""
    if config.pretrained:
        return None
    tokenizer.core.no_padding()
    tokenizer.core.no_truncation()
    return json.loads(tokenizer.core.to_str())


def deserialize_tokenizer(kept: dict[str, Any] | None, config: TokenizerConfig) -> TextTokenizer:
    """The tokenizer that `serialize_tokenizer` was given.

    Raises:
        InputError: for a pretrained one that cannot be had.
    """
    if kept is None:
        return train_or_load_tokenizer((), config)
    return TextTokenizer(Tokenizer.from_str(json.dumps(kept)), SPECIAL_TOKENS.index(PAD))
