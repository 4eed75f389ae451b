"""Settings by their earlier names: on the command line, in a YAML, and in the folder of an earlier run."""

import yaml

from app.export.__main__ import main as export
from tests.conftest import only_run

QUICK = (
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=2",
    "--test_after_fit=false",
    "--data.val_fraction=0.1",
)


def test_old_names_are_accepted_and_told(train, tiny_texts, tmp_path, capsys):
    (tmp_path / "old.yaml").write_text("pictures: false\nwatch_norms_every_steps: 7\n")
    old = ["--config=old.yaml", "--allow_other_processes=true"]
    assert train("fit", "configs/quickstart.yaml", *old, f"--data.source={tiny_texts}", *QUICK) == 0
    said = capsys.readouterr().out
    assert "watch_norms_every_steps is now called norm_diagnostics_every_n_steps" in said
    assert "allow_other_processes is now called allow_world_size_change" in said
    run = only_run(tmp_path / "runs")
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert settings["norm_diagnostics_every_n_steps"] == 7 and settings["allow_world_size_change"] is True
    assert not {"pictures", "watch_norms_every_steps", "allow_other_processes"} & set(settings)


def test_nested_settings_of_an_earlier_run_are_read(train, tiny_pairs, tmp_path, capsys):
    (tmp_path / "old.yaml").write_text("model: {init_args: {val_decoding: {beams: 1, share: 0.5, max_ratio: 0.5}}}\n")
    layers = "encoder_layers: 1, decoder_layers: 1, encoder_attention_heads: 2, decoder_attention_heads: 2"
    small = f"{{d_model: 8, {layers}, encoder_ffn_dim: 8, decoder_ffn_dim: 8}}"
    arguments = [
        "--config=old.yaml", f"--data.source={tiny_pairs}", "--data.tokenizer.vocab_size=300", "--plots=false", *QUICK,
        f"--model.backbone.options={small}", "--model.decoding.share=0.25",
    ]  # fmt: skip
    assert train("fit", "configs/translation/gettext_en_de.yaml", *arguments) == 0
    settings = yaml.safe_load((only_run(tmp_path / "runs") / "config.yaml").read_text())["model"]["init_args"]
    assert settings["val_decoding"]["fraction"] == 0.5 and settings["decoding"]["fraction"] == 0.25


def test_a_run_folder_of_before_is_predicted_with(train, tiny_texts, tmp_path, capsys):
    assert train("fit", "configs/quickstart.yaml", f"--data.source={tiny_texts}", *QUICK) == 0
    run = only_run(tmp_path / "runs")
    (run / "data_spec.json").rename(run / "facts.json")
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("\nplots: ", "\npictures: "))
    (tmp_path / "new.txt").write_text("a warm funny film\n")
    assert train("predict", run / "config.yaml", "--data.predict_source=new.txt", "--data.source=not-there") == 0
    assert '"label"' in capsys.readouterr().out
    assert export([str(run), "--to", "exported"]) == 0
    assert (tmp_path / "exported" / "config.json").is_file()
