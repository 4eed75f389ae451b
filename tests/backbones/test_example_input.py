"""Made-up inputs: each modality reaches its tower, and the model stays as it was."""

import pytest
import torch
from torch import nn
from transformers import AutoModel, CLIPConfig, LlavaConfig, PreTrainedConfig, Wav2Vec2Config, WhisperConfig

from app.backbones import inject_norms, norm_sites
from app.backbones.example_input import example_calls, example_input, run_calls
from tests.backbones.families import values

_TEXT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
_IMAGE = {**_TEXT, "image_size": 16, "patch_size": 8}
CONFIGS: dict[str, PreTrainedConfig] = {
    "clip": CLIPConfig(text_config={**_TEXT, "vocab_size": 60}, vision_config=_IMAGE, projection_dim=16),
    "llava": LlavaConfig(
        vision_config={**_IMAGE, "model_type": "clip_vision_model"},
        text_config={**_TEXT, "num_key_value_heads": 2, "vocab_size": 60, "model_type": "llama"},
        image_token_id=3,
    ),
    "whisper": WhisperConfig(
        vocab_size=60, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, num_mel_bins=8,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, max_source_positions=20, pad_token_id=1,
        bos_token_id=2, eos_token_id=2, decoder_start_token_id=2,
    ),
    "wav2vec2": Wav2Vec2Config(
        vocab_size=60, num_conv_pos_embedding_groups=2, conv_dim=[16, 16], conv_kernel=[10, 3], conv_stride=[5, 2],
        do_stable_layer_norm=True, feat_extract_norm="layer", **_TEXT,
    ),
}  # fmt: skip
MAIN = {"clip": "pixel_values", "llava": "input_ids", "whisper": "input_features", "wav2vec2": "input_values"}
FINAL = {
    "clip": ["text_model.final_layer_norm", "vision_model.post_layernorm"],
    "llava": ["language_model.norm", "vision_tower.post_layernorm"],
    "whisper": ["encoder.layer_norm", "decoder.layer_norm"],
    "wav2vec2": ["encoder.layer_norm"],
}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_norm_runs_and_final_is_found_in_every_tower(name):
    model = AutoModel.from_config(CONFIGS[name]).train()
    assert MAIN[name] in example_input(model)
    ran: set[str] = set()
    before, state = values(model), torch.get_rng_state()
    calls = example_calls(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    for site in norm_sites(model):
        site.module.register_forward_pre_hook(lambda norm, args, path=site.path: ran.add(path))
    assert all(len(value) == 1 for call in calls for value in call.inputs.values()), "batches of one"
    run_calls(calls)  # in eval mode: Wav2Vec2 skips layers at random in training
    assert ran == {site.path for site in norm_sites(model)}
    records = inject_norms(model, "layernorm", sites="final")
    assert sorted(record.path for record in records) == sorted(FINAL[name])


def test_a_model_that_takes_nothing_of_the_kind_is_refused():
    with pytest.raises(ValueError, match="Linear refused a made-up input"):
        example_input(nn.Linear(3, 3))
