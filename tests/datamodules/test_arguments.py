"""Arguments of datamodules: train.py finds those that all kinds share through `**kwargs`, each once and with help."""

import pytest
from jsonargparse import ArgumentParser

from app.datamodules import ByteData, ImageClassificationData, ParsingData, TextClassificationData, TranslationData

SHARED = {"val_fraction": 0.1, "test_fraction": 0.1, "train_probe": True, "workers": 0, "cache_dir": "data/cache"}
BY_TOKENS = {**SHARED, "split_seed": 0, "batch_tokens": 1536, "batch_size": None, "eval_batch_factor": 4}


@pytest.mark.parametrize(
    ("cls", "defaults", "missing"),
    [
        (TextClassificationData, BY_TOKENS, set()),
        (TranslationData, BY_TOKENS, set()),
        (ParsingData, BY_TOKENS, set()),
        (ImageClassificationData, {**SHARED, "batch_size": 64, "eval_batch_factor": 4}, {"batch_tokens"}),
        (
            ByteData,
            {**SHARED, "val_fraction": 0.05, "test_fraction": 0.05},
            {"split_seed", "batch_tokens", "batch_size", "eval_batch_factor"},
        ),
    ],
)
def test_shared_arguments_are_resolved_with_their_defaults_and_help(cls, defaults, missing):
    parser = ArgumentParser()
    parser.add_class_arguments(cls, "data")
    actions = {action.dest: action for action in parser._actions if action.dest.startswith("data.")}
    resolved = parser.get_defaults().data.as_dict()
    assert resolved.items() >= {**defaults, "predict_source": None, "seed": 0}.items()
    assert not missing & resolved.keys()
    assert all(actions[f"data.{name}"].help for name in resolved)
