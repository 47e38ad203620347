"""A multilayer perceptron on raw pixels, as transformers knows models: it trains, saves and loads like any other.

Hinton, Vinyals and Dean (2015), arXiv:1503.02531, section 3: linear layers with rectifiers, dropout between them.

Legend: B images, C channels, H height, W width, D units.
"""

from itertools import pairwise
from typing import Any

from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageClassification, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention


@strict
class PixelMlpConfig(PretrainedConfig):  # type: ignore[no-untyped-call] # the library's hook for subclasses
    model_type = "pixel_mlp"

    image_size: list[int] | tuple[int, ...] = (28, 28)
    num_channels: int = 1
    hidden_sizes: list[int] | tuple[int, ...] = (800, 800)
    dropout: float = 0.0
    input_dropout: float = 0.0


class PixelMlp(nn.Module):
    """All but the last layer."""

    def __init__(self, config: PixelMlpConfig) -> None:
        super().__init__()
        height, width = config.image_size
        widths = [config.num_channels * height * width, *config.hidden_sizes]
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, pixel_values_BCHW: Tensor) -> Tensor:
        """Return the last hidden units [B, D]."""
        units_BD: Tensor = self.input_dropout(pixel_values_BCHW.flatten(1))
        for layer in self.layers:
            units_BD = self.dropout(layer(units_BD).relu())
        return units_BD


class PixelMlpForImageClassification(PreTrainedModel):  # type: ignore[no-untyped-call] # the same
    config_class = PixelMlpConfig
    base_model_prefix = "mlp"
    main_input_name = "pixel_values"

    def __init__(self, config: PixelMlpConfig) -> None:
        super().__init__(config)
        self.mlp = PixelMlp(config)
        self.classifier = nn.Linear(config.hidden_sizes[-1], config.num_labels or 0)
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """As torch does it: its own initialisation is made for layers of this kind."""
        if isinstance(module, nn.Linear):
            module.reset_parameters()

    def forward(self, pixel_values: Tensor, **_: Any) -> ImageClassifierOutputWithNoAttention:
        """Return logits for images [B, C, H, W] whose pixels lie between 0 and 1."""
        return ImageClassifierOutputWithNoAttention(logits=self.classifier(self.mlp(pixel_values)))


AutoConfig.register(PixelMlpConfig.model_type, PixelMlpConfig, exist_ok=True)
AutoModelForImageClassification.register(PixelMlpConfig, PixelMlpForImageClassification, exist_ok=True)
