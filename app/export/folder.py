"""A run as a Hugging Face folder: weights, config, tokenizer, the task's own head, and a card that says what it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.backbones import new_folder, save_model, to_stock_model
from app.backbones.storage import injected_sites
from app.datamodules import ParsingData, TextClassificationData, TranslationData
from app.export.model_card import model_card
from app.export.parser import HEAD_FILE, PARSER_FILE, parser_state
from app.export.run import Run
from app.tasks import Classification, DependencyParsing, Translation
from app.tasks.generation.beam_search import generation_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CARD, SETTINGS, RESULT = "README.md", "run.yaml", "result.json"


def write_folder(run: Run, folder: Path) -> list[str]:
    """Write it, whole or not at all.

    Args:
        run: to export.
        folder: a new or empty one.

    Returns:
        What to tell the person: lines.

    Raises:
        InputError: if the folder holds files already.
    """
    task = run.task
    ordinary = to_stock_model(task.model)
    model = task.model if ordinary is None else ordinary
    _describe(model, run)
    with new_folder(folder) as partial:
        save_model(model, partial)
        _save_tokenizer(run, partial)
        _save_head(run, partial)
        shutil.copyfile(run.folder / "config.yaml", partial / SETTINGS)
        shutil.copyfile(run.folder / "result.json", partial / RESULT)
        card = model_card(run, folder, is_stock=ordinary is not None)
        (partial / CARD).write_text(card, encoding="utf-8")
    how = "app.backbones.load_model alone" if ordinary is None else "plain transformers, and app.backbones.load_model"
    return [
        f"exported    {run.result['signature']}, {run.weights}",
        f"to          {folder}/: {', '.join(sorted(path.name for path in folder.iterdir()))}",
        f"loaded by   {how}; {CARD} has the lines",
    ]


def _describe(model: PreTrainedModel, run: Run) -> None:
    """Say in config.json what the model is of, and in generation_config.json how it was searched."""
    task, config = run.task, model.config
    config.norm_workbench = {
        "signature": run.result["signature"],
        "norm": task.norm.to_dict(),
        "norm_sites": injected_sites(task.model),
    }
    if isinstance(task, Classification):
        config.id2label = dict(enumerate(task.data_spec.labels))
        config.label2id = {label: number for number, label in enumerate(task.data_spec.labels)}
        config.norm_workbench["pooling"] = task.pooling
    if isinstance(task, Translation):
        longest = _translation_limit(task, run.data.max_length)
        model.generation_config = generation_config(model, task.decoding, longest)
        model.generation_config.forced_eos_token_id = config.eos_token_id  # as our search ends what is too long


def _translation_limit(task: Translation, source_tokens: int) -> int:
    """Tokens after which the translation of a source of so many tokens ends."""
    longest = int(source_tokens * task.decoding.max_ratio) + task.decoding.max_extra
    positions = getattr(task.model.config, "max_position_embeddings", None)
    return longest if positions is None else min(longest, positions - 1)


def _save_tokenizer(run: Run, folder: Path) -> None:
    data: Any = run.data
    if isinstance(data, (TextClassificationData, TranslationData, ParsingData)) and data.tokenizer is not None:
        data.tokenizer.save(folder, data.max_length, framed=not isinstance(data, TranslationData))


def _save_head(run: Run, folder: Path) -> None:
    """The parameters that are the task's, not the backbone's, and what else applying them takes."""
    from safetensors.torch import save_file

    task = run.task
    head = {name: p.detach().contiguous() for name, p in task.named_parameters() if not name.startswith("model.")}
    if head:
        save_file(head, folder / HEAD_FILE, metadata={"format": "pt"})
    if isinstance(task, DependencyParsing):
        assert isinstance(run.data, ParsingData), "parsers read treebanks"
        state = parser_state(task, run.data)
        (folder / PARSER_FILE).write_text(json.dumps(state, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
