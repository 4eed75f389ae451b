"""Text to token ids: tokenizers and their training."""

from app.datamodules.tokenizers.tokenizer import TokenizerConfig

__all__ = ["TokenizerConfig"]
