"""In every precision, a test's scores are those that its predictions give when they are counted in Python."""

import copy

import pytest
import torch
from pytorch_lightning import Trainer

from app.cli.main import CLI
from app.cli.norm import fold_norm
from app.cli.output import configure_logging
from app.installation import BASE_CONFIG
from app.metrics import bleu
from app.tasks.base import totals
from tests.conftest import ROOT
from tests.exactness.cases import CASES

PRECISIONS = ["32-true", "64-true", "bf16-true", "16-true", "bf16-mixed"]  # those that CPUs have


@pytest.fixture(scope="module", params=CASES)
def trained(request, tmp_path_factory, sources):
    """A model of each task after a few updates, and its data."""
    case, root = CASES[request.param], tmp_path_factory.mktemp("precisions")
    settings = [*case.arguments(sources[case.data]), f"--data.cache_dir={root}", "--trainer.fast_dev_run=4"]
    configure_logging("fit")
    cli = CLI(fold_norm(["fit", "--config", str(ROOT / case.config), *settings], [BASE_CONFIG]))
    return cli.model, cli.datamodule


def predicted_scores(model, batches):
    """The scores of what the model predicts for batches: whole numbers, divided once, and BLEU of all texts."""
    if model.name == "classification":
        labels = [model.data_spec.labels[label] for batch in batches for label in batch.labels.tolist()]
        for batch in batches:
            batch.texts = [""] * len(batch.labels)
        found = [prediction.answer for batch in batches for prediction in model.predict_step(batch, 0)]
        right = sum(one == other for one, other in zip(found, labels, strict=True))
        return {"test/accuracy": right / len(labels)}
    if model.name == "parsing":
        right = sum(int((model.parser.parse(model.model, batch).heads == batch.heads).sum()) for batch in batches)
        return {"test/uas": right / sum(batch.real_words for batch in batches)}
    if model.name == "translation":
        rows = sorted((p.index, p.answer) for batch in batches for p in model.predict_step(batch, 0))
        wanted = sorted(row for batch in batches for row in zip(batch.index.tolist(), batch.references, strict=True))
        texts = [text for _, text in rows], [text for _, text in wanted]
        return {"test/bleu": bleu(*texts, model.data_spec.target_language)[0]}
    return {}


def test_the_names_of_scores_are_known_before_there_are_any(trained):
    model, _ = trained  # which was validated last
    assert set(model.scores) == {*model.score_names("val"), *model.score_names("train_probe")}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_scores_are_what_predictions_count_to(trained, precision, monkeypatch):
    configure_logging("test")
    original, data = trained
    model = copy.deepcopy(original)
    trainer = Trainer(
        precision=precision, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False,
    )  # fmt: skip
    evaluate, batches, counts = model.evaluate, [], []

    def watched(batch, split):
        batches.append(batch)
        found = evaluate(batch, split)
        counts.append({metric: (float(top), int(below)) for metric, (top, below) in totals(found).items()})
        return found

    monkeypatch.setattr(model, "evaluate", watched)
    trainer.test(model, data, verbose=False)
    for metric in counts[0]:
        top, below = (sum(count[metric][place] for count in counts) for place in (0, 1))
        assert model.scores[f"test/{metric}"] == pytest.approx(top / below, rel=1e-12), metric
    with torch.inference_mode(), trainer.precision_plugin.forward_context():
        for metric, score in predicted_scores(model.eval(), batches).items():
            assert model.scores[metric] == pytest.approx(score, rel=1e-12), metric
