"""The paper's three-layer convolutional network for images, as a Hugging Face model like all the others.

Three blocks of convolution, max pooling, norm, ReLU: the norm is before each activation. It is a LayerNorm over the
whole map of one image (C, H, W), as Ba et al. (2016) define it for convolutions and as the paper's formulas read with
H = C * H * W. The number of layers and the position of the norm are the paper's; channels, kernel size and pooling are
ours. Pooling precedes the norm, which so has a quarter of the values to normalize.
"""

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput


@strict
class ConvNetConfig(PreTrainedConfig):
    """The config of a `ConvNet`.

    Args:
        num_channels: channels of the image; 1 is greyscale.
        image_size: height and width in pixels, or one number for both; >= 8 each.
        channels: output channels of each layer.
        kernel_size: height and width of each convolution's window in pixels; odd.
        layer_norm_eps: added to the variance in every norm.
    """

    model_type = "convnet"

    num_channels: int = 1
    image_size: int | list[int] | tuple[int, ...] = 28
    channels: list[int] | tuple[int, ...] = (16, 32, 64)
    kernel_size: int = 5
    layer_norm_eps: float = 1e-5

    def validate_architecture(self) -> None:
        """Check values; called by the strict dataclass once each field has its type.

        Raises:
            ValueError: for values that such a network cannot have.
        """
        if self.kernel_size % 2 == 0 or self.kernel_size < 1:
            raise ValueError(f"kernel_size must be odd and positive, got {self.kernel_size}")
        if not self.channels or min(self.channels) < 1:
            raise ValueError(f"channels must be one or more positive numbers, got {list(self.channels)}")
        if min(self.map_size) < 1:
            raise ValueError(f"image_size {self.image_size} is too small for {len(self.channels)} poolings by half")

    @property
    def map_size(self) -> tuple[int, int]:
        """The height and width of the last layer's map."""
        height, width = (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size
        return height >> len(self.channels), width >> len(self.channels)

    @property
    def hidden_size(self) -> int:
        """The number of features in the output: channels x height x width of the last map."""
        height, width = self.map_size
        return self.channels[-1] * height * width


class ConvBlock(nn.Module):
    """A convolution, max pooling by half, a norm over (C, H, W), a ReLU."""

    def __init__(self, channels_in: int, shape: tuple[int, int, int], config: ConvNetConfig) -> None:
        super().__init__()
        kernel = config.kernel_size
        self.convolution = nn.Conv2d(channels_in, shape[0], kernel, padding=kernel // 2)
        self.pooling = nn.MaxPool2d(2)
        self.layernorm = nn.LayerNorm(shape, eps=config.layer_norm_eps)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C, H // 2, W // 2)."""
        return self.activation(self.layernorm(self.pooling(self.convolution(x))))


class ConvNet(PreTrainedModel):
    """A network from images to one feature vector each; a task puts its head on `last_hidden_state`."""

    config_class = ConvNetConfig
    base_model_prefix = "convnet"
    main_input_name = "pixel_values"

    def __init__(self, config: ConvNetConfig) -> None:
        super().__init__(config)
        size = config.image_size
        height, width = (size, size) if isinstance(size, int) else size
        self.layers = nn.ModuleList()
        channels_in = config.num_channels
        for channels in config.channels:
            height, width = height // 2, width // 2
            self.layers.append(ConvBlock(channels_in, (channels, height, width), config))
            channels_in = channels
        self.post_init()

    def forward(self, pixel_values: Tensor) -> BaseModelOutput:
        """Compute one position per image, so that any pooling over positions keeps all features.

        Args:
            pixel_values: (B, num_channels, height, width).

        Returns:
            last_hidden_state of (B, 1, hidden_size).
        """
        x = pixel_values
        for layer in self.layers:
            x = layer(x)  # (B, C, H, W)
        return BaseModelOutput(last_hidden_state=x.flatten(1).unsqueeze(1))  # (B, 1, C * H * W)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialize convolutions as He et al. (2015), so that a network without norm starts at a sane scale too."""
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            assert module.bias is not None
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)


AutoConfig.register("convnet", ConvNetConfig)
AutoModel.register(ConvNetConfig, ConvNet)
