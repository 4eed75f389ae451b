"""Byte-level language modelling, with a memory carried along contiguous streams or within independent windows."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from app.backbones.options import refused_by_transformers
from app.batches import ByteBatch
from app.errors import InputError
from app.metrics.info import BITS_PER_BYTE, LOSS
from app.tasks.base import SPLITS, Counts, Task, TrainLoss
from app.tasks.forward_pass import ForwardPass, example_ids, loading_lines
from app.tasks.generation.sampling import SamplingConfig, continue_prompt, has_memory, is_causal
from app.tasks.generation.stream_memory import StreamMemory
from app.tasks.losses import nats, perplexity, smoothed_cross_entropy
from app.tasks.prediction import Prediction


class LanguageModeling(Task):
    """Predicts the next byte at every position.

    Scores: `loss` (nats per byte), `bpc` (bits per byte, the paper's bits per character), `byte_perplexity` (e to the
    loss: of bytes, and so far below the perplexities of words or tokens that papers report); the test also has
    `bpc_of_gzip` and `bpc_of_bzip2`, the bits per byte of these compressors on the same text.

    The backbone is a causal model: xlnet with `attn_type: uni` and a `mem_len` (the paper's Transformer-XL: relative
    attention, a memory of the segments before), or gpt2 and its like (independent windows).

    Args:
        sampling: how predict continues a prompt.

    Raises:
        InputError: if the data has streams and the model no memory, or if the model looks ahead.
    """

    name = "language_modeling"
    auto_class = "AutoModelForCausalLM"
    batch_types = (ByteBatch,)
    primary = BITS_PER_BYTE
    metrics = (LOSS, BITS_PER_BYTE)
    ratio_metrics = ("loss",)
    derived_metrics = ("byte_perplexity",)
    output_fields = ("prompt", "continuation")

    def __init__(self, sampling: SamplingConfig | None = None, **kwargs: Any) -> None:
        self.sampling = sampling or SamplingConfig()
        super().__init__(**kwargs)
        self.memories = {split: StreamMemory() for split in ("train", *SPLITS)}

    def build_head(self) -> None:
        """Build nothing: the output layer is the backbone's own. Checks that backbone and data fit together."""
        model_type = self.model.config.model_type
        with refused_by_transformers(self.model_label, self.model_options):
            causal = is_causal(self.model)  # XLNet checks some options only in its forward pass
        if not causal:
            raise InputError(
                f"model_type {model_type!r}, as configured, looks at the bytes that it has to predict; use a causal "
                "model, such as gpt2, or xlnet with attn_type uni"
            )
        if self.data_spec.has_streams and not has_memory(self.model):
            raise InputError(
                f"data.memory is true, and model_type {model_type!r} has no memory; set data.memory to false, or use "
                "xlnet with mem_len >= 1"
            )

    def forward(self, batch: ByteBatch, split: str = "train") -> Tensor:
        """Compute the logits of the byte after each input, (B, T, 256); streams continue with the split's memory."""
        if not self.data_spec.has_streams:
            return self.model(input_ids=batch.input_ids, **self.no_cache).logits
        memory = self.memories[split]
        if batch.begins:
            memory.forget()
        output = self.model(input_ids=batch.input_ids, mems=memory.at(batch.input_ids.device), use_mems=True)
        memory.keep(output.mems, is_dummy=batch.is_dummy)
        return output.logits

    def train_loss(self, batch: ByteBatch) -> TrainLoss:
        """Compute the cross-entropy, summed over bytes."""
        logits = self(batch).flatten(0, 1)  # (B * T, 256)
        return TrainLoss(*smoothed_cross_entropy(logits, batch.labels.flatten(), 0.0), batch.target_bytes)

    def evaluate(self, batch: ByteBatch, split: str = "val") -> Counts:
        """Count the nats of the bytes."""
        return {"loss": (nats(self(batch, split), batch.labels), batch.labels != batch.IGNORED)}

    def derive(self, split: str, scores: dict[str, float]) -> dict[str, float]:
        """Compute bits and perplexity per byte."""
        loss = scores["loss"]
        return {"bpc": loss / math.log(2), "byte_perplexity": perplexity(loss)}

    def predict_step(self, batch: ByteBatch, batch_idx: int) -> list[Prediction]:
        """Continue each prompt; those of a batch have equal lengths. Bytes that are not UTF-8 become U+FFFD."""
        predictions = []
        for index, ids in zip(batch.index.tolist(), batch.input_ids, strict=True):
            added = continue_prompt(self.model, ids, self.sampling, index, self.data_spec.has_streams)
            prompt = bytes(ids[1:].tolist())  # without the line break before every text
            continuation = _text(bytes(added))
            predictions.append(Prediction(index, {"prompt": _text(prompt), "continuation": continuation}, continuation))
        return predictions

    def forward_pass(self) -> ForwardPass:
        """Return the function from a window of bytes to the logits of the byte after each, without a memory."""
        options = self.no_cache

        def compute(model: Any, ids: Tensor) -> tuple[Tensor]:
            return (model(input_ids=ids, **options).logits,)

        inputs, others = ({"input_ids": example_ids(rows, tokens, 256)} for rows, tokens in ((2, 7), (1, 12)))
        return ForwardPass(self.model, compute, inputs, others, {"input_ids": ("batch", "tokens")}, ("logits",))

    def usage_example(self, folder: str, is_stock: bool, data: Any) -> str:
        """Return Python that continues a prompt with the most likely bytes."""
        begin = f"""\
{loading_lines(self.auto_class, folder, is_stock)}
prompt, length = "The ", 40
ids = torch.tensor([[10, *prompt.encode()]])  # ids are bytes; every text begins after a line break
"""
        if not has_memory(self.model):
            return f"""{begin}\
with torch.no_grad():
    found = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=length)
print(bytes(found[0, 1:].tolist()).decode("utf-8", "replace"))
"""
        return f"""{begin}\
added, memory = [], None
with torch.no_grad():
    while len(added) < length:
        for segment in ids.split(model.config.mem_len, dim=1):
            output = model(input_ids=segment, mems=memory, use_mems=True)
            memory = output.mems
        added.append(int(output.logits[0, -1].argmax()))
        ids = torch.tensor([added[-1:]])
print(prompt + bytes(added).decode("utf-8", "replace"))
"""

    def card_notes(self, data: Any) -> list[str]:
        """Say that there is no tokenizer, and why XLNet's generate cannot be used."""
        notes = ["There is no tokenizer: ids are the bytes of UTF-8, 0 to 255."]
        if has_memory(self.model):
            notes.append(
                "Do not use `generate`: XLNet's reads a query stream that only its own pretraining trains. The lines "
                "above carry the memory along, as the run did."
            )
        return notes

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Also save the memory of the training streams of all processes, unless only weights are saved."""
        super().on_save_checkpoint(checkpoint)
        if self.data_spec.has_streams and "loops" in checkpoint:
            checkpoint["memory"] = self.memories["train"].gather()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Also restore this process's streams of the memory, if training resumes."""
        super().on_load_checkpoint(checkpoint)
        if self._trainer is not None and self.trainer.state.fn == "fit":
            self.memories["train"].take(checkpoint.get("memory"), self.trainer.global_rank, self.trainer.world_size)

    @property
    def no_cache(self) -> dict[str, bool]:
        """Options of a model call that keep no cache, which an independent window does not need."""
        return {"use_mems": False} if has_memory(self.model) else {"use_cache": False}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
