"""Text to token ids: tokenizers, their training, and how a run folder keeps them."""

from app.datamodules.tokenizers.tokenizer import TokenizerConfig

__all__ = ["TokenizerConfig"]
