"""The model card, README.md of an exported folder in Hugging Face's form: what the model is, and how to use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from app.backbones.stock_model import family_placed_so
from app.backbones.storage import injected_sites
from app.export.run import Run


def model_card(run: Run, folder: Path, is_stock: bool) -> str:
    """Write the whole card.

    Args:
        run: the exported run.
        folder: the exported folder.
        is_stock: whether stock transformers loads the model.
    """
    signature = run.result["signature"]
    parts = [
        f"---\n{yaml.safe_dump(_metadata(run), sort_keys=False, allow_unicode=True)}---",
        f"# {run.task.name}, {run.data.name}: {run.task.model_name} with {run.task.norm.signature}",
        f"`{signature}`",
        _what(run),
        "## Use",
        *_how_to_load(run, is_stock),
        f"```python\n{run.task.usage_example(str(folder), is_stock, run.data)}```",
        *_notes(run, is_stock),
        "## Scores",
        *_scores(run),
        "## Norm",
        *_norm(run),
        "## Data and command",
        *_origin(run),
    ]
    return "\n\n".join(parts) + "\n"


def placement_in_words(run: Run) -> str:
    """Say why stock transformers does not load a placed model, and in which of its families norms stand so."""
    task = run.task
    family = family_placed_so(task.model)
    own = "" if family is None else f"; its norms stand as in {family.model_type}"
    if family is not None and family.differences:
        own += f", which differs in other ways: it {', '.join(family.differences)}"
    return f"stock transformers cannot express placement {task.placement} of a {task.model.config.model_type}{own}"


def _what(run: Run) -> str:
    status, step = run.result["status"], run.step
    how = {"finished": "", "untested": ", which has not been tested"}.get(status, f", which {status}")
    return (
        f"A run of Norm workbench{how}, exported by `python -m app.export`. Weights: {run.weights}"
        f"{f', after {step} updates' if step is not None else ''}."
    )


def _metadata(run: Run) -> dict[str, Any]:
    """Return what Hugging Face's pages read; the licence is not known here, so none is named."""
    metadata: dict[str, Any] = {"library_name": "transformers"}
    if languages := getattr(run.data, "languages", None):
        metadata["language"] = list(languages)
    metadata["tags"] = [
        "norm-workbench",
        run.task.name,
        *run.task.norm.name.split("+"),
        run.task.model.config.model_type,
    ]
    metadata["metrics"] = [metric.name for metric in run.task.metrics if metric.name != "loss"] or ["loss"]
    return metadata


def _how_to_load(run: Run, is_stock: bool) -> list[str]:
    name = type(run.task.model).__name__
    if is_stock:
        return [
            f"Stock transformers loads the model: it is a standard `{name}`, whose norms compute exactly "
            f"what `{run.task.norm.name}` computed in the run (gain 1 and bias 0 where it has none). Outputs are equal "
            "up to rounding."
        ]
    own = "norms" if run.task.norm.embedding_scale is None else "norms or a learned factor"
    own += "" if run.task.placement.is_native else ", or places of norms,"
    return [
        f"`{run.task.loader}` of Norm workbench loads it (run the lines where `app` can be imported). Its model is a "
        f"`{name}` with {own} that transformers does not have, so `from_pretrained` refuses it instead of loading a "
        "different model."
    ]


def _notes(run: Run, is_stock: bool) -> list[str]:
    notes = run.task.card_notes(run.data)
    if not is_stock and getattr(run.data, "tokenizer", None) is not None:
        notes.append("AutoTokenizer warns that it does not know this `model_type`; its ids are right all the same.")
    return [" ".join(notes)] if notes else []


def _scores(run: Run) -> list[str]:
    if not run.scores:
        return ["These weights were not scored in the run."]
    names = list(dict.fromkeys(name for scores in run.scores.values() for name in scores))
    rows = [
        [split, *(f"{scores[name]:.4f}" if name in scores else "" for name in names)]
        for split, scores in run.scores.items()
    ]
    lines = [["", *names], ["---"] * (len(names) + 1), *rows]
    parts = ["\n".join(f"| {' | '.join(line)} |" for line in lines)]
    parts += [f"{metric}: `{signature}`" for metric, signature in run.result["score_signatures"].items()]
    gap = run.result["gap"]
    if gap["best"]:
        at = {"at the best epoch": gap["best"], "at the last epoch": gap["final"]}
        told = "; ".join(
            f"{when} {', '.join(f'{m.name} {of[m.name]:.4f}' for m in run.task.metrics if m.name in of)}"
            for when, of in at.items()
            if of
        )
        parts.append(f"Gap between train probe and validation: {told}.")
    return parts


def _norm(run: Run) -> list[str]:
    norm, result = run.task.norm, run.result["norm"]
    paths = ", ".join(f"`{site['path']}`" for site in injected_sites(run.task.model))
    placed = [] if run.task.placement.is_native else [f"Placement: {placement_in_words(run)}."]
    return [
        f"{norm.in_words}. {result['replaced']} of the model's {result['total']} norms were replaced; they are listed "
        f"in config.json under `norm_workbench`: {paths}.",
        *placed,
    ]


def _origin(run: Run) -> list[str]:
    data: Any = run.data
    result = run.result
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return [
        f"Data: {data.name}, from `{data.source}` (other splits, if there are any, are in run.yaml).",
        f"Paired with runs that have data {result['data_fingerprint']}, batch plan {result['plan_fingerprint']}, "
        f"initial weights {result['weights_fingerprint']}: the same batches, from the same start.",
        f"Versions: {versions}.",
        "run.yaml has the settings that repeat the run in Norm workbench, result.json its complete results.",
        "```bash\npython train.py fit --config run.yaml\n```",
    ]
