"""Machine translation: an encoder-decoder of Hugging Face with the norm in both stacks."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from app.batches import TranslationBatch
from app.errors import InputError
from app.metrics import Translated, TranslationScores, bleu, chrf, tokenized_bleu
from app.metrics.info import BLEU, LOSS
from app.tasks.base import SPLITS, Counts, Task, TrainLoss
from app.tasks.generation.beam_search import DecodingConfig, start_token, translate
from app.tasks.losses import perplexity, smoothed_cross_entropy, summed_nats
from app.tasks.prediction import Prediction


class Translation(Task):
    """A sentence for a sentence.

    The backbone is a Hugging Face encoder-decoder: mbart (pre-norm), bart and marian (post-norm), t5.

    Scores: `loss` (nats per target token, the end mark among them), `perplexity` (e to that), and on the share of the
    examples that is translated `bleu` and `chrf` of plain text; in the test also `bleu_tokenized` (Moses' tokens, as
    the paper's time reported) and `bleu_of_copy` (of the sources themselves, taken for translations).

    Args:
        label_smoothing: share of the target spread over the vocabulary in training; never in evaluation.
        decoding: search of test and predict.
        val_decoding: search of validation, there to be quick: greedy by default. With fraction 0 validation translates
            nothing, and the loss, not BLEU, chooses the best checkpoint.
    """

    name = "translation"
    auto_class = "AutoModelForSeq2SeqLM"
    batch_types = (TranslationBatch,)
    primary = BLEU
    metrics = (LOSS, BLEU)
    ratio_metrics = ("loss",)

    def __init__(
        self,
        label_smoothing: float = 0.1,
        decoding: DecodingConfig | None = None,
        val_decoding: DecodingConfig | None = None,
        **kwargs: Any,
    ) -> None:
        self.label_smoothing = label_smoothing
        self.decoding = decoding or DecodingConfig()
        self.val_decoding = val_decoding or DecodingConfig(beams=1)
        if self.val_decoding.fraction == 0:
            self.primary, self.metrics = LOSS, (LOSS,)
        super().__init__(**kwargs)
        self.translations = {part: TranslationScores() for part in SPLITS}
        self.start = start_token(self.model)

    def build_head(self) -> None:
        """Nothing: the output layer is the backbone's own, tied to its embeddings unless its options say otherwise."""
        _check_language(self.data_spec.target_language)

    def forward(self, batch: TranslationBatch) -> Tensor:
        """Logits of each target position, given the source and the target before it: (B, T, V)."""
        before = F.pad(batch.labels[:, :-1], (1, 0), value=self.start)  # (B, T)
        before = before.masked_fill(before == batch.IGNORED, self.model.config.pad_token_id)
        return self.model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, decoder_input_ids=before, use_cache=False
        ).logits

    def train_loss(self, batch: TranslationBatch) -> TrainLoss:
        """Cross-entropy with label smoothing, summed over target tokens."""
        logits = self(batch).flatten(0, 1)  # (B * T, V)
        return TrainLoss(
            *smoothed_cross_entropy(logits, batch.labels.flatten(), self.label_smoothing), batch.target_tokens
        )

    def evaluate(self, batch: TranslationBatch, part: str = "val") -> Counts:
        """Nats."""
        logits = self(batch).flatten(0, 1)
        return {"loss": (summed_nats(logits, batch.labels.flatten()), batch.target_tokens)}

    def observe(self, batch: TranslationBatch, part: str) -> None:
        """Translate the share of the batch that is to be scored."""
        how = self.decoding if part == "test" else self.val_decoding
        positions = batch.index.tolist()
        rows = [row for row, position in enumerate(positions) if how.includes(position)]
        if not rows:
            return
        hypotheses = self._translate(batch, rows, how)
        self.translations[part].update(
            [
                Translated(positions[row], batch.sources[row], hypothesis, batch.references[row])
                for row, hypothesis in zip(rows, hypotheses, strict=True)
            ]
        )

    def derive(self, part: str, scores: dict[str, float]) -> dict[str, float]:
        """Perplexity, and the scores of the translations."""
        derived = {"perplexity": perplexity(scores["loss"])}
        examples = self.translations[part].collect()
        if not examples:
            return derived
        language = self.data_spec.target_language
        sources = [example.source for example in examples]
        hypotheses = [example.hypothesis for example in examples]
        references = [example.reference for example in examples]
        derived["bleu"], self.score_signatures["bleu"] = bleu(hypotheses, references, language)
        derived["chrf"], self.score_signatures["chrf"] = chrf(hypotheses, references)
        if part == "test":
            derived["bleu_tokenized"], self.score_signatures["bleu_tokenized"] = tokenized_bleu(
                hypotheses, references, language
            )
            derived["bleu_of_copy"], _ = bleu(sources, references, language)
            self.test_texts = {"source": sources, "hypothesis": hypotheses, "reference": references}
        return derived

    def predict_step(self, batch: TranslationBatch, batch_idx: int) -> list[Prediction]:
        """The translation of each source, which is one line; of an empty one, nothing."""
        rows = [row for row, source in enumerate(batch.sources) if source]
        texts = [""] * len(batch.sources)
        for row, text in zip(rows, self._translate(batch, rows, self.decoding) if rows else [], strict=True):
            texts[row] = text
        return [
            Prediction(index, {"source": source, "translation": text}, text)
            for index, source, text in zip(batch.index.tolist(), batch.sources, texts, strict=True)
        ]

    def _translate(self, batch: TranslationBatch, rows: list[int], how: DecodingConfig) -> list[str]:
        assert self.data_spec.decode is not None, "translations are text"
        mask = batch.attention_mask[rows]
        width = int(mask.sum(1).max())  # without the padding that other rows needed
        return self.data_spec.decode(translate(self.model, batch.input_ids[rows, :width], mask[:, :width], how))


def _check_language(language: str) -> None:
    """Ask for the package that a language is scored with now, not after an epoch."""
    try:
        bleu(["a"], ["a"], language)
    except RuntimeError as error:
        raise InputError(f"data.target_language {language}: {' '.join(str(error).split())}") from error
