"""Custom models; importing this makes their model types known to transformers' Auto classes."""

from app.backbones.convnet import ConvNet
from app.backbones.mlp import MLP

CUSTOM_MODELS = {cls.__name__: cls for cls in (ConvNet, MLP)}
OWN_TYPES = tuple(cls.config_class.model_type for cls in CUSTOM_MODELS.values())
