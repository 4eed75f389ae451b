"""The runs that the tests of exact training make: one small case for each task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """A config made small.

    Args:
        config: path from the repository root.
        data: fixture that is its source.
        small: arguments that make it quick, dropout left on.
        no_dropout: arguments that turn dropout off: its masks differ between numbers of processes.
        score: a metric of what the model predicts.
    """

    config: str
    data: str
    small: tuple[str, ...]
    no_dropout: tuple[str, ...]
    score: str

    def arguments(self, source: Path) -> list[str]:
        """All but the run folder; no pictures, which take longer than these runs."""
        return [*self.small, "--plots=false", f"--data.source={source}"]


def _sizes(sizes: dict[str, int | float]) -> tuple[str, ...]:
    return tuple(f"--model.backbone.options.{name}={value}" for name, value in sizes.items())


_BERT = "{hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4}"

CASES = {
    "classification": Case(
        "configs/quickstart.yaml",
        "tiny_texts",
        (
            "--trainer.max_epochs=3", "--trainer.log_every_n_steps=2", "--data.val_fraction=0.2",
            "--data.batch_tokens=200",
            *_sizes({"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}),
        ),
        (
            "--model.classifier_dropout=0",
            *_sizes({"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0}),
        ),
        "accuracy",
    ),
    "translation": Case(
        "configs/translation/gettext_en_de.yaml",
        "tiny_pairs",
        (
            "--trainer.max_epochs=3", "--trainer.log_every_n_steps=2", "--data.val_fraction=0.2",
            "--data.batch_tokens=200", "--average_checkpoints=2",
            "--data.tokenizer.vocab_size=400", "--model.optimizer.warmup_steps=4", "--model.optimizer.lr=1e-2",
            "--model.decoding.max_ratio=1", "--model.decoding.beams=2", "--model.val_decoding.max_ratio=1",
            "--norm=adanorm",
            *_sizes({
                "d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_layers": 1, "decoder_layers": 1,
            }),
        ),
        _sizes({"dropout": 0}),
        "bleu",
    ),
    "language_modeling": Case(
        "configs/language_modeling/tiny.yaml",
        "tiny_bytes",
        (
            "--trainer.max_epochs=2", "--trainer.log_every_n_steps=2", "--data.val_fraction=0.2", "--norm=adanorm",
            "--data.streams=5", "--data.segment=32", "--data.eval_streams=4", "--data.eval_batch_size=3",
            "--model.optimizer.warmup_steps=2",
            *_sizes({"d_model": 32, "d_inner": 64, "n_layer": 2, "mem_len": 48, "dropout": 0.1}),
        ),
        _sizes({"dropout": 0}),
        "bpc",
    ),
    "parsing_mlp": Case(
        "configs/parsing/ptb.yaml",
        "tiny_trees",
        (
            "--trainer.max_epochs=3", "--trainer.log_every_n_steps=2", "--data.val_fraction=0.2",
            "--data.batch_tokens=200", "--norm=adanorm", "--model.optimizer.warmup_steps=2",
            "--model.features={words: 8, tags: 8, unknown: 0.1, dropout: 0.1}", "--model.transition.relations=4",
            *_sizes({"hidden_size": 32}),
        ),
        ("--model.features={words: 8, tags: 8, unknown: 0, dropout: 0}", *_sizes({"hidden_dropout_prob": 0})),
        "las",
    ),
    "parsing_biaffine": Case(
        "configs/parsing/turkish.yaml",
        "tiny_trees",
        (
            "--trainer.max_epochs=3", "--trainer.log_every_n_steps=2", "--data.val_fraction=0.2",
            "--data.batch_tokens=200", "--data.split_modulo=null", "--data.tokenizer.vocab_size=300",
            "--model.optimizer.warmup_steps=2", "--model.optimizer.lr=1e-2",
            "--model.features={words: 8, tags: 8, characters: 8, unknown: 0.1, dropout: 0.1}",
            "--model.biaffine={arcs: 16, relations: 8}",
            f"--model.backbone={{model_type: bert, options: {_BERT}}}",  # modernbert rotates in float32, always
        ),
        (
            "--model.features={words: 8, tags: 8, characters: 8, unknown: 0, dropout: 0}",
            "--model.biaffine={arcs: 16, relations: 8, dropout: 0}",
            *_sizes({"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0}),
        ),
        "las",
    ),
}  # fmt: skip
