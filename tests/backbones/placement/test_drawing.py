"""What is drawn of a model's blocks says where its norms stand, as the model has them and placed."""

import pytest
import torch

from app.backbones import drawn_blocks, inject_norms, place_norms
from tests.backbones.families import tiny
from tests.tiny_models import tiny_model

POST, PRE = "x -> attention -> + -> norm -> ffn -> + -> norm", "x -> norm -> attention -> + -> norm -> ffn -> +"
CROSS = "x -> norm -> attention -> + -> norm -> cross_attention -> + -> norm -> ffn -> +"


@pytest.mark.parametrize(
    ("family", "placement", "lines"),
    [
        ("bert", "native", {"encoder.layer.0-1": POST}),
        ("bert", "pre", {"encoder.layer.0-1": PRE, "encoder.layer, after its last block": "norm"}),
        (
            "bert", "peri",
            {"encoder.layer.0-1": "x -> norm -> attention -> norm -> + -> norm -> ffn -> norm -> +",
             "encoder.layer, after its last block": "norm"},
        ),
        ("bert", "qk", {"encoder.layer.0-1": POST.replace("attention", "attention (norm of q, k)")}),
        ("llama", "mix", {"layers.0": POST, "layers.1": PRE, "layers, after its last block": "norm"}),
        ("llama", "layerscale",
         {"layers.0-1": PRE.replace("attention", "attention -> scale").replace("ffn", "ffn -> scale"),
          "layers, after its last block": "norm"}),
        (
            "t5", "native",
            {"encoder.block.0-1": PRE, "decoder.block.0-1": CROSS,
             **{f"{stack}.block, after its last block": "norm" for stack in ("encoder", "decoder")}},
        ),
        (
            "llama", "b2t",
            {"not drawn": "the last norm of a block also gets the input of the block, which a line cannot show"},
        ),
        ("llama", "rezero", {"not drawn": "LlamaModel has no list of blocks with norms"}),
        ("qwen3", "native",
         {"layers.0-1": PRE.replace("attention", "attention (norm of q, k)"), "layers, after its last block": "norm"}),
        (
            "phi", "native",
            {"layers.0-1": "not drawn: its attention branch is not added to the stream by itself: parallel to another, "
             "scaled, or 0", "layers, after its last block": "norm"},
        ),
        ("swin", "native",
         {"encoder.layers.0.blocks.0": PRE, "encoder.layers.1.blocks.0-1": PRE,
          "encoder.layers, after its last block": "norm"}),
    ],
)  # fmt: skip
def test_blocks_are_drawn_as_they_are(family, placement, lines):
    model = tiny(family)
    place_norms(model, placement)
    inject_norms(model, "adanorm")
    assert drawn_blocks(model) == [f"{path}: {drawing}" for path, drawing in lines.items()]


def test_what_cannot_be_drawn_says_why():
    (line,) = drawn_blocks(torch.nn.Linear(2, 2))
    assert line.startswith("not drawn: the blocks of Linear cannot be watched (ValueError: ") and "--" not in line
    assert drawn_blocks(tiny_model("convnext", lambda model: True))[0] == (
        "encoder.stages.0.layers.0: not drawn: no norm stands before or after a branch"
    )
