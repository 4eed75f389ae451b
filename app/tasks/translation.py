"""Machine translation: a Hugging Face encoder-decoder with the norm in both stacks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from app.batches import TranslationBatch
from app.errors import InputError
from app.languages import has_no_spaces
from app.metrics import (
    BleuTokenizer,
    Translated,
    TranslationScores,
    bleu,
    bleu_counts,
    chrf,
    tokenized_bleu,
    tokenizer_of,
)
from app.metrics.info import BLEU, LOSS
from app.tasks.base import SPLITS, Counts, Task, TrainLoss
from app.tasks.forward_pass import ForwardPass, example_ids, example_mask, loading_lines
from app.tasks.generation.beam_search import DecodingConfig, generation_config, start_token, translate
from app.tasks.losses import nats, perplexity, smoothed_cross_entropy
from app.tasks.prediction import Prediction

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)


class Translation(Task):
    """Translates sentence by sentence.

    The backbone is a Hugging Face encoder-decoder: mbart (pre-norm), bart and marian (post-norm), t5.

    Scores: `loss` (nats per target token, end marks included), `perplexity` (e to the loss), and, for the fraction of
    the examples that is translated, `bleu` and `chrf` on plain text; the test also has `bleu_tokenized` (on Moses
    tokens, as papers of that time reported it) and `bleu_of_copy` (of the sources, scored as if they were
    translations).

    Args:
        label_smoothing: share of the target that is spread over the vocabulary in training; not in evaluation.
        decoding: how test and predict search.
        val_decoding: how validation searches: greedily by default, to be quick. With fraction 0 validation translates
            nothing, and the best checkpoint is chosen by loss, not by BLEU.
        bleu_tokenizer: sacrebleu's tokenizer for `bleu`; by default that of the target language: zh, ja-mecab or
            ko-mecab for Chinese, Japanese or Korean, char for others that are written without spaces, 13a for all
            others. The log says which.
    """

    name = "translation"
    auto_class = "AutoModelForSeq2SeqLM"
    batch_types = (TranslationBatch,)
    primary = BLEU
    metrics = (LOSS, BLEU)
    ratio_metrics = ("loss",)
    derived_metrics = ("perplexity", "chrf")

    def __init__(
        self,
        label_smoothing: float = 0.1,
        decoding: DecodingConfig | None = None,
        val_decoding: DecodingConfig | None = None,
        bleu_tokenizer: BleuTokenizer | None = None,
        **kwargs: Any,
    ) -> None:
        self.label_smoothing = label_smoothing
        self.decoding = decoding or DecodingConfig()
        self.val_decoding = val_decoding or DecodingConfig(beams=1)
        self.bleu_tokenizer = bleu_tokenizer
        if self.val_decoding.fraction == 0:
            self.primary, self.metrics, self.derived_metrics = LOSS, (LOSS,), ("perplexity",)
        super().__init__(**kwargs)
        self.translations = {split: TranslationScores() for split in SPLITS}
        self.start = start_token(self.model)

    def build_head(self) -> None:
        """Build nothing: the output layer is the backbone's own. Checks that the language can be scored."""
        language = self.data_spec.target_language
        self.bleu_tokenizer = self.bleu_tokenizer or tokenizer_of(language)
        _check_tokenizer(self.bleu_tokenizer, language)
        log.info("BLEU: sacrebleu's tokenizer %s, target language %s", self.bleu_tokenizer, language)

    def forward(self, batch: TranslationBatch) -> Tensor:
        """Compute the logits of each target position, given the source and the target before it: (B, T, V)."""
        before = F.pad(batch.labels[:, :-1], (1, 0), value=self.start)  # (B, T)
        before = before.masked_fill(before == batch.IGNORED, self.model.config.pad_token_id)
        return self.model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, decoder_input_ids=before, use_cache=False
        ).logits

    def train_loss(self, batch: TranslationBatch) -> TrainLoss:
        """Compute the cross-entropy with label smoothing, summed over target tokens."""
        logits = self(batch).flatten(0, 1)  # (B * T, V)
        return TrainLoss(
            *smoothed_cross_entropy(logits, batch.labels.flatten(), self.label_smoothing), batch.target_tokens
        )

    def evaluate(self, batch: TranslationBatch, split: str = "val") -> Counts:
        """Count the nats of the target tokens."""
        return {"loss": (nats(self(batch), batch.labels), batch.labels != batch.IGNORED)}

    def observe(self, batch: TranslationBatch, split: str) -> None:
        """Translate the examples of the batch that are to be scored."""
        how = self.decoding if split == "test" else self.val_decoding
        positions = batch.index.tolist()
        rows = [row for row, position in enumerate(positions) if how.includes(position)]
        if not rows:
            return
        hypotheses = self._translate(batch, rows, how)
        self.translations[split].update(
            [
                Translated(positions[row], batch.sources[row], hypothesis, batch.references[row])
                for row, hypothesis in zip(rows, hypotheses, strict=True)
            ]
        )

    def derive(self, split: str, scores: dict[str, float]) -> dict[str, float]:
        """Compute the perplexity and the scores of the translations."""
        derived = {"perplexity": perplexity(scores["loss"])}
        examples = self.translations[split].collect()
        if not examples:
            return derived
        language, tokenizer = self.data_spec.target_language, self.bleu_tokenizer
        sources = [example.source for example in examples]
        hypotheses = [example.hypothesis for example in examples]
        references = [example.reference for example in examples]
        if tokenizer in ("13a", "intl") and not self.score_signatures and has_no_spaces(references):
            log.warning(
                "BLEU counts the words between spaces (tokenizer %s), but most references have none: set "
                "model.bleu_tokenizer, such as zh or char, or the code of the language in data.target_language (%s)",
                tokenizer,
                language,
            )
        derived["bleu"], self.score_signatures["bleu"] = bleu(hypotheses, references, language, tokenizer)
        derived["chrf"], self.score_signatures["chrf"] = chrf(hypotheses, references)
        if split == "test":
            derived["bleu_tokenized"], self.score_signatures["bleu_tokenized"] = tokenized_bleu(
                hypotheses, references, language
            )
            derived["bleu_of_copy"], _ = bleu(sources, references, language, tokenizer)
            self.test_texts = {"source": sources, "hypothesis": hypotheses, "reference": references}
            self._keep_bleu_counts(examples)
        return derived

    def _keep_bleu_counts(self, examples: list[Translated]) -> None:
        """Add to the counts of the test examples those of BLEU; they are masked where nothing was translated."""
        kept = self.examples.get("test")
        if not kept:
            return
        texts = [example.hypothesis for example in examples], [example.reference for example in examples]
        is_translated = np.isin(kept["index"], [example.position for example in examples])
        for column, counts in bleu_counts(*texts, self.data_spec.target_language, self.bleu_tokenizer).items():
            kept[column] = np.ma.masked_all(len(is_translated), np.int64)
            kept[column][is_translated] = counts

    def predict_step(self, batch: TranslationBatch, batch_idx: int) -> list[Prediction]:
        """Translate each source, which is one line; an empty one stays empty."""
        rows = [row for row, source in enumerate(batch.sources) if source]
        texts = [""] * len(batch.sources)
        for row, text in zip(rows, self._translate(batch, rows, self.decoding) if rows else [], strict=True):
            texts[row] = text
        return [
            Prediction(index, {"source": source, "translation": text}, text)
            for index, source, text in zip(batch.index.tolist(), batch.sources, texts, strict=True)
        ]

    def forward_pass(self) -> ForwardPass:
        """Return the function from source and target tokens to the logits of the next target token."""
        size = self.data_spec.model_options["vocab_size"]

        def inputs(rows: int, source: int, target: int) -> dict[str, Tensor]:
            return {
                "input_ids": example_ids(rows, source, size),
                "attention_mask": example_mask(rows, source),
                "decoder_input_ids": example_ids(rows, target, size),
            }

        dims = dict.fromkeys(("input_ids", "attention_mask"), ("batch", "tokens"))
        dims["decoder_input_ids"] = ("batch", "target_tokens")
        return ForwardPass(self.model, _next_logits, inputs(2, 7, 5), inputs(1, 12, 9), dims, ("logits",))

    def usage_example(self, folder: str, is_stock: bool, data: Any) -> str:
        """Return Python that translates a sentence."""
        how = self.decoding
        limit = f"int({how.max_ratio!r} * ids.shape[1]) + {how.max_extra}"
        if self._positions is not None:
            limit = f"min({limit}, {self._positions - 1})"
        return f"""\
{loading_lines(self.auto_class, folder, is_stock, tokenizer=True)}
for text in ["The red house sees the old tree."]:  # yours, one at a time: each has a limit of its own
    inputs = tokenizer(text, truncation=True, max_length={data.max_length}, return_tensors="pt")
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    with torch.no_grad():
        found = model.generate(ids, attention_mask=mask, max_new_tokens={limit})
    print(" ".join(tokenizer.decode(found[0], skip_special_tokens=True).split()))
"""

    def card_notes(self, data: Any) -> list[str]:
        """Say how the model searches, and whether its sources were detokenised."""
        notes = ["generation_config.json has the search of the run's test: beams, length penalty, length limit."]
        if data.detokenize:
            notes.append("Sources are plain text: the published corpus is tokenised and was detokenised.")
        return notes

    def describe(self, model: PreTrainedModel, data: Any) -> None:
        """Write the search of test and predict into generation_config.json."""
        longest = int(data.max_length * self.decoding.max_ratio) + self.decoding.max_extra
        if self._positions is not None:
            longest = min(longest, self._positions - 1)
        model.generation_config = generation_config(model, self.decoding, longest)
        model.generation_config.forced_eos_token_id = model.config.eos_token_id  # as our search ends what is too long

    @property
    def _positions(self) -> int | None:
        return getattr(self.model.config, "max_position_embeddings", None)

    def _translate(self, batch: TranslationBatch, rows: list[int], how: DecodingConfig) -> list[str]:
        assert self.data_spec.decode is not None, "translations are text"
        mask = batch.attention_mask[rows]
        width = int(mask.sum(1).max())  # without the padding that other rows needed
        return self.data_spec.decode(translate(self.model, batch.input_ids[rows, :width], mask[:, :width], how))


def _next_logits(model: PreTrainedModel, ids: Tensor, mask: Tensor, decoder_ids: Tensor) -> tuple[Tensor]:
    return (model(input_ids=ids, attention_mask=mask, decoder_input_ids=decoder_ids, use_cache=False).logits,)


def _check_tokenizer(tokenizer: BleuTokenizer, language: str) -> None:
    """Fail now, not after an epoch, if the package is missing that segments a language."""
    try:
        bleu(["a"], ["a"], language, tokenizer)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"data.target_language {language} is scored by sacrebleu's tokenizer {tokenizer}: {reason}; or set "
            "model.bleu_tokenizer to char, which needs no package, and compare with scores of that alone"
        ) from error
