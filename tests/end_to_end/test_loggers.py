"""Weights & Biases, offline, as a user's logger: what arrives there."""

import pytest
import yaml

from app.runs.metrics_file import read_events
from tests.conftest import only_run

LOGGER = {
    "class_path": "pytorch_lightning.loggers.WandbLogger",
    "init_args": {"project": "norms", "offline": True, "save_dir": "mine"},
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of W&B's own dependencies
def test_an_offline_run_of_wandb_gets_the_settings_and_every_metric(train, tiny_texts, tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_SILENT", "true")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"trainer": {"logger": [LOGGER]}}))
    quick = ["--trainer.max_epochs=1", "--trainer.log_every_n_steps=1", "--data.batch_tokens=400"]
    data = [f"--data.source={tiny_texts}", "--data.val_fraction=0.1"]
    assert train("fit", "configs/quickstart.yaml", "--config=mine.yaml", *data, *quick) == 0
    found = wandb.run
    try:
        assert found.config["seed_everything"] == 1 and found.config["norm"]["name"] == "adanorm"
        last = {key: value for event in read_events(only_run(tmp_path / "runs")) for key, value in event.items()}
        arrived = dict(found.summary)
        for key in last.keys() - {"step"}:
            assert last[key] is None or arrived[key] == pytest.approx(last[key]), key
        assert 0 <= arrived["test/accuracy"] <= 1
    finally:
        found.finish()
    assert list((tmp_path / "mine/wandb").glob("offline-run-*/*.wandb"))
