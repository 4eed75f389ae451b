"""Model types that people use: `python -m tests.families` finds all right in them, and the norms counted by hand.

The families of `tests/backbones/families.py`, which other tests use, are not repeated here.
"""

import pytest

from tests.families import check_type

# norms in all of the layers that the tiny model has (two, or as many as show all their kinds), and the final ones
TYPES = {
    "mpnet": (5, []),
    "esm": (5, ["encoder.emb_layer_norm_after"]),
    "layoutlm": (5, []),
    "gpt_neo": (5, ["ln_f"]),
    "gpt_neox": (5, ["final_layer_norm"]),
    "opt": (5, ["decoder.final_layer_norm"]),
    "bloom": (6, ["ln_f"]),
    "falcon": (3, ["ln_f"]),
    "gptj": (3, ["ln_f"]),
    "gemma2": (9, ["norm"]),
    "phi": (3, ["final_layernorm"]),
    "phi3": (5, ["norm"]),
    "mistral": (5, ["norm"]),
    "mixtral": (5, ["norm"]),
    "qwen2": (5, ["norm"]),
    "qwen3": (9, ["norm"]),
    "olmo2": (9, ["norm"]),
    "starcoder2": (5, ["norm"]),
    "smollm3": (5, ["norm"]),
    "granite": (5, ["norm"]),
    "cohere": (3, ["norm"]),
    "mamba": (3, ["norm_f"]),
    "codegen": (3, ["ln_f"]),
    "pegasus": (12, ["encoder.layer_norm", "decoder.layer_norm"]),
    "blenderbot": (12, ["encoder.layer_norm", "decoder.layer_norm"]),
    "m2m_100": (12, ["encoder.layer_norm", "decoder.layer_norm"]),
    "whisper": (12, ["encoder.layer_norm", "decoder.layer_norm"]),
    "wav2vec2": (6, []),
    "hubert": (6, []),
    "speech_to_text": (12, ["encoder.layer_norm", "decoder.layer_norm"]),
    "deit": (5, ["layernorm"]),
    "beit": (5, ["pooler.layernorm"]),
    "dinov2": (5, ["layernorm"]),
    "swin": (13, ["layernorm"]),
    "convnext": (9, ["layernorm"]),
    "data2vec-vision": (4, []),
    "xlm-roberta": (5, []),
    "clip": (11, ["text_model.final_layer_norm", "vision_model.post_layernorm"]),
    "siglip": (11, ["text_model.final_layer_norm", "vision_model.post_layernorm"]),
    "llava": (11, ["language_model.norm", "vision_tower.post_layernorm"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("model_type", TYPES)
def test_all_that_is_done_to_the_norms_of_a_model_type_is_right(model_type):
    row = check_type(model_type, norms=("adanorm",))
    assert (row.status, row.wrong, row.refused, row.not_built) == ("right", [], [], "")
    assert (row.seen, row.found, row.unreached) == (row.found, TYPES[model_type][0], 0)
    assert sorted(row.final) == sorted(TYPES[model_type][1])
