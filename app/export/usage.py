"""The lines of a model card that apply the model: they give what `train.py predict` gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.datamodules import ImageClassificationData
from app.export.run import Run
from app.tasks import Classification, DependencyParsing, LanguageModeling, Translation
from app.tasks.generation.sampling import has_memory


def usage(run: Run, folder: Path, is_stock: bool) -> str:
    """Python to be run as it stands.

    Args:
        run: that was exported.
        folder: where it lies.
        is_stock: whether plain transformers loads it.
    """
    match run.task:
        case Classification():
            of_images = isinstance(run.data, ImageClassificationData)
            return (_images if of_images else _texts)(run.task, run.data, folder, is_stock)
        case Translation():
            return _translation(run.task, run.data, folder, is_stock)
        case LanguageModeling():
            return _bytes(run.task, folder, is_stock)
        case DependencyParsing():
            return _PARSING.format(folder=str(folder))
    raise AssertionError(f"no lines for {run.task.name}")


def _loading(auto_class: str, is_stock: bool, more: str = "") -> tuple[str, str]:
    """The import, and the call, that load the model."""
    if is_stock:
        return f"from transformers import {auto_class}{more}", f"{auto_class}.from_pretrained(folder)"
    theirs = f"from transformers import {more.removeprefix(', ')}\n" if more else ""
    return f"{theirs}\nfrom app.backbones import load_model", "load_model(folder)"


def _texts(task: Classification, data: Any, folder: Path, is_stock: bool) -> str:
    imports, load = _loading("AutoModel", is_stock, ", AutoTokenizer")
    pooled = "hidden[:, 0]" if task.pooling == "first" else "(hidden * mask).sum(1) / mask.sum(1)"
    return f"""\
import torch
from safetensors.torch import load_file
{imports}

folder = {str(folder)!r}
tokenizer = AutoTokenizer.from_pretrained(folder)
model = {load}
head = load_file(f"{{folder}}/head.safetensors")

texts = ["a warm and clever film", "a dull and tired mess"]  # yours
inputs = tokenizer(texts, truncation=True, max_length={data.max_length}, padding=True, return_tensors="pt")
ids, mask = inputs["input_ids"], inputs["attention_mask"]
with torch.no_grad():
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state  # (texts, tokens, features)
mask = mask.unsqueeze(-1)
pooled = {pooled}
probabilities = (pooled @ head["classifier.weight"].T + head["classifier.bias"]).softmax(-1)
for text, row in zip(texts, probabilities):
    print(text, model.config.id2label[int(row.argmax())], row.tolist())
"""


def _images(task: Classification, data: ImageClassificationData, folder: Path, is_stock: bool) -> str:
    imports, load = _loading("AutoModel", is_stock)
    mean, std = data.mean_and_std
    shape = ", ".join(map(str, data.shape))
    channels_first = "images.unsqueeze(1)" if len(data.shape) == 2 else "images.permute(0, 3, 1, 2)"
    pooled = "hidden[:, 0]" if task.pooling == "first" else "hidden.mean(1)"
    return f"""\
import torch
from safetensors.torch import load_file
{imports}

folder = {str(folder)!r}
model = {load}
head = load_file(f"{{folder}}/head.safetensors")

images = torch.zeros(1, {shape}, dtype=torch.uint8)  # yours, 0 to 255
pixels = (({channels_first} / 255 - {mean!r}) / {std!r}).to(model.dtype)
with torch.no_grad():
    hidden = model(pixel_values=pixels).last_hidden_state  # (images, positions, features)
pooled = {pooled}
probabilities = (pooled @ head["classifier.weight"].T + head["classifier.bias"]).softmax(-1)
for row in probabilities:
    print(model.config.id2label[int(row.argmax())], row.tolist())
"""


def _translation(task: Translation, data: Any, folder: Path, is_stock: bool) -> str:
    imports, load = _loading("AutoModelForSeq2SeqLM", is_stock, ", AutoTokenizer")
    how = task.decoding
    limit = f"int({how.max_ratio!r} * ids.shape[1]) + {how.max_extra}"
    positions = getattr(task.model.config, "max_position_embeddings", None)
    if positions is not None:
        limit = f"min({limit}, {positions - 1})"
    return f"""\
import torch
{imports}

folder = {str(folder)!r}
tokenizer = AutoTokenizer.from_pretrained(folder)
model = {load}

for text in ["The red house sees the old tree."]:  # yours, one at a time: each has a limit of its own
    inputs = tokenizer(text, truncation=True, max_length={data.max_length}, return_tensors="pt")
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    with torch.no_grad():
        found = model.generate(ids, attention_mask=mask, max_new_tokens={limit})
    print(" ".join(tokenizer.decode(found[0], skip_special_tokens=True).split()))
"""


def _bytes(task: LanguageModeling, folder: Path, is_stock: bool) -> str:
    imports, load = _loading("AutoModelForCausalLM", is_stock)
    head = f"""\
import torch
{imports}

folder = {str(folder)!r}
model = {load}

prompt, length = "The ", 40
ids = torch.tensor([[10, *prompt.encode()]])  # ids are bytes, and a line break stands before every text
"""
    if not has_memory(task.model):
        return f"""{head}\
with torch.no_grad():
    found = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=length)
print(bytes(found[0, 1:].tolist()).decode("utf-8", "replace"))
"""
    call = "model(input_ids=segment, mems=memory, use_mems=True)"
    segments = "ids.split(model.config.mem_len, dim=1)"
    return f"""{head}\
added, memory = [], None
with torch.no_grad():
    while len(added) < length:
        for segment in {segments}:
            output = {call}
            memory = output.mems
        added.append(int(output.logits[0, -1].argmax()))
        ids = torch.tensor([added[-1:]])
print(prompt + bytes(added).decode("utf-8", "replace"))
"""


_PARSING = """\
from pathlib import Path

from app.export import load_parser

parser = load_parser({folder!r})
Path("sentences.txt").write_text("The red dog sees a house.\\n")  # or a .conllu file, whose tags are read
for sentence in parser.parse("sentences.txt"):
    print(sentence)
"""
