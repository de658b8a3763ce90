"""PyTorch models of the kinds that people serve, small, each initialised from a fixed seed.

``tests/integration/test_model_zoo.py`` proves their conversion; ``lowering.py`` times it. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class ResidualBlock(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.side = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.side = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both ways."""
        return functional.relu(self.body(x) + self.side(x))


def resnet18(width: int = 64, classes: int = 1000) -> nn.Module:
    """Return ResNet-18; ``width`` is the number of its first channels, 64 in the original."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
    ]  # fmt: skip
    before = width
    for stage in range(4):
        channels = width << stage
        layers += [ResidualBlock(before, channels, 1 if stage == 0 else 2), ResidualBlock(channels, channels, 1)]
        before = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


class SqueezeExcite(nn.Module):
    """Channels weighted by what the whole image says."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels // 4, 1), nn.ReLU(),
            nn.Conv2d(channels // 4, channels, 1), nn.Hardsigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted channels."""
        return x * self.gate(x)


class InvertedResidual(nn.Module):
    """MobileNetV3's block: widen, look around per channel, narrow."""

    def __init__(self, channels: int, wide: int, stride: int) -> None:
        super().__init__()
        self.around = stride == 1
        self.body = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.Hardswish(),
            nn.Conv2d(wide, wide, 5, stride, 2, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.Hardswish(),
            SqueezeExcite(wide), nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's result, added to its input where the size stays."""
        return x + self.body(x) if self.around else self.body(x)


def mobilenet() -> nn.Module:
    """Return a net of MobileNetV3's parts."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish(),
        InvertedResidual(16, 64, 2), InvertedResidual(16, 48, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 32), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(32, 10),
    )  # fmt: skip


class UNet(nn.Module):
    """A segmenter that goes down by pooling and up by resizing, once to twice the size and once to a given one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = self._pair(3, 8), self._pair(8, 16), self._pair(16, 32)
        self.up_second, self.up_first = self._pair(48, 16), self._pair(24, 8)
        self.head = nn.Conv2d(8, 2, 1)

    @staticmethod
    def _pair(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, 1, 1), nn.GroupNorm(4, outputs), nn.SiLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return two maps of the image's size."""
        first = self.first(x)
        second = self.second(functional.max_pool2d(first, 2))
        third = self.third(functional.max_pool2d(second, 2))
        up = functional.interpolate(third, scale_factor=2.0, mode="nearest")
        up = self.up_second(torch.cat([up, second], 1))
        up = functional.interpolate(up, size=(32, 32), mode="bilinear", align_corners=False)
        return self.head(self.up_first(torch.cat([up, first], 1)))


class Recurrent(nn.Module):
    """A classifier of sequences by a bidirectional LSTM or GRU."""

    def __init__(self, layer: type[nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 12)
        self.layer = layer(12, 16, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(32, 4)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the scores of four classes."""
        steps, _ = self.layer(self.embed(ids))
        return self.head(steps.amax(1))


class Encoder(nn.Module):
    """A transformer encoder over vectors."""

    def __init__(self, width: int = 32, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of five classes."""
        return self.head(self.encoder(x).mean(1))


class VisionTransformer(nn.Module):
    """Patches of an image, a class token and an encoder with its norms first."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 32))
        self.places = nn.Parameter(torch.randn(1, 17, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu", norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of ten classes."""
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), patches], 1) + self.places
        return self.head(self.encoder(tokens)[:, 0])


class Bert(nn.Module):
    """BERT as `transformers` writes it, from a small configuration: ids and mask in, sequence and pooled vector out."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        self.bert = BertModel(
            BertConfig(
                vocab_size=100,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=128,
                max_position_embeddings=64,
            )
        )

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last layer, [batch, length, width], and the pooled first token."""
        found = self.bert(input_ids=ids, attention_mask=mask)
        return found.last_hidden_state, found.pooler_output


def perceptron() -> nn.Module:
    """Return a multi-layer perceptron with the usual activations."""
    return nn.Sequential(
        nn.Linear(8, 32), nn.ReLU(), nn.BatchNorm1d(32), nn.Linear(32, 16), nn.ELU(), nn.Linear(16, 3), nn.Softmax(-1)
    )


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model of the zoo.

    Attributes:
        name: What it is called.
        make: Makes the module; call it after seeding.
        inputs: Name, dtype and shape of each input; None is the batch, -1 another dynamic dimension.
        outputs: Name of each output.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: tuple[tuple[str, str, tuple[int | None, ...]], ...]
    outputs: tuple[str, ...] = ("scores",)

    def module(self) -> nn.Module:
        """Return the module in evaluation mode, the same at each call, its batch norms with statistics of their own."""
        torch.manual_seed(7)
        module = self.make()
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.normal_(part.running_mean, 0, 0.1)
                nn.init.uniform_(part.running_var, 0.5, 1.5)
        return module.eval()

    def arrays(self, batch: int, length: int = 11) -> dict[str, np.ndarray]:
        """Return inputs of a batch; ``length`` stands for dynamic dimensions other than the batch."""
        generator = np.random.default_rng(batch)
        made = {}
        for name, dtype, shape in self.inputs:
            sizes = [batch if size is None else length if size == -1 else size for size in shape]
            if name == "mask":
                made[name] = (np.arange(sizes[1]) < generator.integers(1, sizes[1] + 1, (batch, 1))).astype(dtype)
            elif dtype == "int64":
                made[name] = generator.integers(0, 50, sizes)
            else:
                made[name] = generator.standard_normal(sizes).astype(dtype)
        return made


def _image(size: int) -> tuple[tuple[str, str, tuple[int | None, ...]], ...]:
    return (("image", "float32", (None, 3, size, size)),)


_IDS = ("ids", "int64", (None, -1))
ZOO = (
    Entry(name="mlp", make=perceptron, inputs=(("x", "float32", (None, 8)),)),
    Entry(name="resnet18", make=lambda: resnet18(16, 10), inputs=_image(64)),
    Entry(name="mobilenet", make=mobilenet, inputs=_image(48)),
    Entry(name="unet", make=UNet, inputs=_image(32), outputs=("maps",)),
    Entry(name="lstm", make=lambda: Recurrent(nn.LSTM), inputs=(_IDS,)),
    Entry(name="gru", make=lambda: Recurrent(nn.GRU), inputs=(_IDS,)),
    Entry(name="encoder", make=Encoder, inputs=(("x", "float32", (None, -1, 32)),)),
    Entry(name="vit", make=VisionTransformer, inputs=_image(32)),
    Entry(name="bert", make=Bert, inputs=(_IDS, ("mask", "int64", (None, -1))), outputs=("sequence", "pooled")),
)
