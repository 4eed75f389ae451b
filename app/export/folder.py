"""Exports a run as a Hugging Face folder: weights, config, tokenizer, the task's own head, and a model card."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from app.backbones import new_folder, save_model, to_stock_model
from app.backbones.embedding_scale import scale_inits
from app.backbones.storage import injected_sites
from app.export.model_card import model_card, placement_in_words
from app.export.run import Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CARD, SETTINGS, RESULT = "README.md", "run.yaml", "result.json"


def write_folder(run: Run, folder: Path) -> list[str]:
    """Write the folder, completely or not at all.

    Args:
        run: the run to export.
        folder: a new or empty folder.

    Returns:
        Lines for the user.

    Raises:
        InputError: if the folder has files already.
    """
    task = run.task
    stock = to_stock_model(task.model)
    model = task.model if stock is None else stock
    _describe(model, run)
    with new_folder(folder) as partial:
        save_model(model, partial)
        _save_tokenizer(run, partial)
        task.save_head(partial, run.data)
        shutil.copyfile(run.folder / "config.yaml", partial / SETTINGS)
        shutil.copyfile(run.folder / "result.json", partial / RESULT)
        card = model_card(run, folder, is_stock=stock is not None)
        (partial / CARD).write_text(card, encoding="utf-8")
    placement = [] if task.placement.is_native else [f"placement   {placement_in_words(run)}"]
    how = f"{task.loader} only" if stock is None else f"stock transformers, and {task.loader}"
    return [
        f"exported    {run.result['signature']}, {run.weights}",
        f"to          {folder}/: {', '.join(sorted(path.name for path in folder.iterdir()))}",
        f"loaded by   {how}; {CARD} has the lines",
        *placement,
    ]


def _describe(model: PreTrainedModel, run: Run) -> None:
    """Write into the model's configs which run and which norms it is of, and what the task says."""
    model.config.norm_workbench = {
        "signature": run.result["signature"],
        "norm": run.task.norm.to_dict(),
        "placement": run.task.placement.to_dict(),
        "norm_sites": injected_sites(run.task.model),
        "embedding_scales": scale_inits(run.task.model),
    }
    run.task.describe(model, run.data)


def _save_tokenizer(run: Run, folder: Path) -> None:
    data, model = run.data, run.task.model
    tokenizer = getattr(data, "tokenizer", None)  # images and bytes have none
    if tokenizer is not None:
        tokenizer.save(folder, data.max_length, framed=not model.config.is_encoder_decoder)
