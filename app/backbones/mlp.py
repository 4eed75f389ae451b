"""The paper's three-layer MLP of a transition-based parser, as a Hugging Face model like all the others.

Each layer is Linear, norm, ReLU, dropout: the norm is before each activation. The number of layers and the position of
the norm are the paper's; width, activation (Chen and Manning, 2014, cube; ReLU trains deeper stacks) and dropout are
ours.
"""

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput


@strict
class MLPConfig(PreTrainedConfig):
    """The config of an `MLP`.

    Args:
        input_size: number of input features.
        hidden_size: number of features of each layer, and of the output.
        num_hidden_layers: number of layers.
        hidden_dropout_prob: dropout after each activation.
        layer_norm_eps: added to the variance in every norm.
    """

    model_type = "mlp"

    input_size: int = 2400
    hidden_size: int = 200
    num_hidden_layers: int = 3
    hidden_dropout_prob: float | int = 0.1
    layer_norm_eps: float = 1e-5

    def validate_architecture(self) -> None:
        """Check values; called by the strict dataclass once each field has its type.

        Raises:
            ValueError: for values that such a network cannot have.
        """
        for name in ("input_size", "hidden_size", "num_hidden_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if not 0 <= self.hidden_dropout_prob < 1:
            raise ValueError(f"hidden_dropout_prob must be >= 0 and < 1, got {self.hidden_dropout_prob}")


class MLPLayer(nn.Module):
    """A linear layer, a norm, a ReLU, dropout."""

    def __init__(self, input_size: int, config: MLPConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, config.hidden_size)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., input_size) to (..., hidden_size)."""
        return self.dropout(self.activation(self.layernorm(self.linear(x))))


class MLP(PreTrainedModel):
    """A network from feature vectors to feature vectors; a task puts its head on `last_hidden_state`."""

    config_class = MLPConfig
    base_model_prefix = "mlp"
    main_input_name = "inputs_embeds"

    def __init__(self, config: MLPConfig) -> None:
        super().__init__(config)
        sizes = [config.input_size] + [config.hidden_size] * (config.num_hidden_layers - 1)
        self.layers = nn.ModuleList(MLPLayer(size, config) for size in sizes)
        self.post_init()

    def forward(self, inputs_embeds: Tensor) -> BaseModelOutput:
        """Apply the layers.

        Args:
            inputs_embeds: (..., input_size).

        Returns:
            last_hidden_state of (..., hidden_size).
        """
        x = inputs_embeds
        for layer in self.layers:
            x = layer(x)
        return BaseModelOutput(last_hidden_state=x)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialize as He et al. (2015), so that a network without norm starts at a sane scale too."""
        if isinstance(module, nn.Linear):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            assert module.bias is not None
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)


AutoConfig.register("mlp", MLPConfig)
AutoModel.register(MLPConfig, MLP)
