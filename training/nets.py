"""The three networks: small U-Nets (segmentation-models-pytorch) with their whole contract inside.

Every network is a module that takes the platform's tensors (uint16 reflectance x 10000, uint8
probabilities) and gives the platform's tensors (uint8), so that the exported graph and the module
that was trained are the same thing. Training reads `logits`; serving reads `forward`.

The encoder halves the resolution at once (2x2 stem) and the head gives four values per half-size
pixel, laid out as 2x2 pixels: full-size output at the price of half-size convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.encoders import encoders
from segmentation_models_pytorch.encoders._base import EncoderMixin
from torch import Tensor, nn
from torch.nn import functional

from geodata_etl.bands import NOT_OBSERVED, PROBABILITY_MAX, REFLECTANCE_SCALE, Cloud, Cover

ENCODER = "halved"
"""Name under which the encoder below is known to segmentation-models-pytorch."""


@dataclass(frozen=True)
class Widths:
    """Channels of the encoder at 1/2, 1/4 and 1/8, and of the decoder's three blocks."""

    encoder: tuple[int, int, int]
    decoder: tuple[int, int, int]
    coarse_kernel: int = 3
    """Kernel at 1/8: 1 instead of 3 takes 8 px off the reach (a class mask flips at a hair)."""


CLEAR_MARGIN = 0.25
"""By how much of a logit a pixel must be clear rather than anything else: a cloud that is missed
becomes a false alarm, clear ground that is hidden is seen at the next date."""
CLOUD_WIDTHS = Widths((16, 24, 40), (24, 16, 16), coarse_kernel=1)
COVER_WIDTHS = Widths((20, 36, 56), (28, 20, 16))
CHANGE_WIDTHS = Widths((24, 36, 56), (28, 20, 16))


def _conv(inputs: int, outputs: int, *, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm and ReLU; export folds the norm into the convolution."""
    padding = kernel // 2 if stride == 1 else 0
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class HalvedEncoder(nn.Module, EncoderMixin):  # type: ignore[misc]  # torch has no types here
    """Plain convolutions at 1/2, 1/4 and 1/8 of the input; downsampling does not overlap.

    2x2 stride-2 convolutions add nothing to the reach of the network, which keeps its influence
    inside the lattice's halo.
    """

    def __init__(self, *, widths: Widths, depth: int, output_stride: int) -> None:
        super().__init__()
        self._depth, self._in_channels, self._output_stride = depth, 3, output_stride
        self._out_channels = [3, *widths.encoder]
        half, quarter, eighth = widths.encoder
        self.stem = _conv(3, half, kernel=2, stride=2)
        self.fine = _conv(half, half, kernel=3)
        self.middle = nn.Sequential(
            _conv(half, quarter, kernel=2, stride=2), _conv(quarter, quarter, kernel=3)
        )
        self.coarse = nn.Sequential(
            _conv(quarter, eighth, kernel=2, stride=2),
            _conv(eighth, eighth, kernel=widths.coarse_kernel),
        )

    def set_in_channels(self, in_channels: int, pretrained: bool = True) -> None:  # noqa: ARG002
        """Build the stem for `in_channels`; there are never pretrained weights."""
        self._in_channels, self._out_channels[0] = in_channels, in_channels
        self.stem = _conv(in_channels, self._out_channels[1], kernel=2, stride=2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features; the first one stands for the decoder's output size, which is 1/2."""
        stem = self.stem(x)
        half = self.fine(stem)
        quarter = self.middle(half)
        return [stem, half, quarter, self.coarse(quarter)]


def _unet(widths: Widths, *, inputs: int, outputs: int) -> nn.Module:
    # The registry is the library's own way to add an encoder; entering it twice changes nothing.
    encoders[ENCODER] = {
        "encoder": HalvedEncoder,
        "params": {"widths": widths},
        "pretrained_settings": {},
    }
    net: nn.Module = smp.Unet(
        ENCODER,
        encoder_depth=3,
        encoder_weights=None,
        decoder_channels=widths.decoder,
        in_channels=inputs,
        classes=4 * outputs,
    )
    return net


def reflectance(image: Tensor) -> Tensor:
    """float32 reflectance 0..1.4 of a uint16 image; nodata stays 0."""
    return torch.clamp(image.to(torch.float32) / REFLECTANCE_SCALE, max=1.4)


def observed(image: Tensor) -> Tensor:
    """bool [N,1,H,W]: no band of the pixel is nodata."""
    return image.amin(dim=1, keepdim=True) > 0


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    return (a - b) / (a + b + 0.01)  # 0.01 keeps deep water and nodata from blowing up


def indices(r: Tensor) -> Tensor:
    """NDVI, NDBI, MNDWI and BSI of reflectance [N,6,H,W]: float [N,4,H,W].

    Sources: Tucker 1979 (NDVI), Zha et al. 2003 (NDBI), Xu 2006 (MNDWI), Rikimaru et al. 2002
    (bare soil index).
    """
    blue, green, red, nir, swir, _ = r.split(1, dim=1)
    bare = _ratio(swir + red, nir + blue)
    return torch.cat([_ratio(nir, red), _ratio(swir, nir), _ratio(green, swir), bare], dim=1)


def quantise(p: Tensor, seen: Tensor) -> Tensor:
    """uint8 probability: round(p x 254), 255 where not seen."""
    levels = torch.round(p * PROBABILITY_MAX)
    return torch.where(seen, levels, torch.full_like(levels, NOT_OBSERVED)).to(torch.uint8)


class CloudMask(nn.Module):  # type: ignore[misc]  # torch has no types here
    """``image`` uint16 [N,4,H,W] -> ``mask`` uint8 [N,H,W] (bands.Cloud)."""

    def __init__(self, widths: Widths = CLOUD_WIDTHS) -> None:
        super().__init__()
        self.net = _unet(widths, inputs=7, outputs=len(Cloud))

    def logits(self, image: Tensor) -> Tensor:
        """float [N,4,H,W]."""
        r = reflectance(image)
        blue, _, red, nir = r.split(1, dim=1)
        # Haze-optimised transform (Zhang et al. 2002): what a veil adds and no dry ground does.
        hot = (blue - 0.5 * red) * 10
        ratios = [_ratio(nir, red), _ratio(blue, red) * 4]
        x = torch.cat([torch.sqrt(r) * 2 - 1, *ratios, hot], dim=1)
        return functional.pixel_shuffle(self.net(x), 2)

    def forward(self, image: Tensor) -> Tensor:
        """The mask; 255 where nodata."""
        seen = observed(reflectance(image)).squeeze(1)
        clear, *hidden = self.logits(image).split(1, dim=1)
        best = torch.cat([clear - CLEAR_MARGIN, *hidden], dim=1).argmax(dim=1).to(torch.int32)
        return torch.where(seen, best, torch.full_like(best, NOT_OBSERVED)).to(torch.uint8)


class Segmenter(nn.Module):  # type: ignore[misc]  # torch has no types here
    """``image`` uint16 [N,6,H,W] -> ``probabilities`` uint8 [N,6,H,W] (bands.Cover)."""

    def __init__(self, widths: Widths = COVER_WIDTHS) -> None:
        super().__init__()
        self.net = _unet(widths, inputs=10, outputs=len(Cover))

    def logits(self, image: Tensor) -> Tensor:
        """float [N,6,H,W]."""
        r = reflectance(image)
        x = torch.cat([torch.sqrt(r) * 2 - 1, indices(r)], dim=1)
        return functional.pixel_shuffle(self.net(x), 2)

    def forward(self, image: Tensor) -> Tensor:
        """The class probabilities; 255 where nodata."""
        p = torch.softmax(self.logits(image), dim=1)
        return quantise(p, observed(reflectance(image)))


class ChangeClassifier(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Two dates' bands and class probabilities -> ``change`` uint8 [N,H,W].

    `bias` is added to the logit: training fits it so that a fixed level separates (the prior of
    pasted samples is not the prior of scenes). `spread` divides it on the way out: a network that
    is surer than a level can say would give most ground the same level, and lose its ranking.
    """

    bias: Tensor
    spread: Tensor

    def __init__(self, widths: Widths = CHANGE_WIDTHS) -> None:
        super().__init__()
        self.net = _unet(widths, inputs=32, outputs=1)
        self.register_buffer("bias", torch.zeros(1))
        self.register_buffer("spread", torch.ones(1))

    def logits(self, before: Tensor, after: Tensor, before_p: Tensor, after_p: Tensor) -> Tensor:
        """float [N,1,H,W]."""
        r1, r2 = reflectance(before), reflectance(after)
        s1, s2 = torch.sqrt(r1), torch.sqrt(r2)
        i1, i2 = indices(r1), indices(r2)
        p1, p2 = (_probability(p) for p in (before_p, after_p))
        # Sums and differences span what the two dates span, and start nearer to the answer.
        parts = [(s2 - s1) * 4, s1 + s2 - 1, (i2 - i1) * 2, i1 + i2, (p2 - p1) * 2, p1 + p2 - 1]
        return functional.pixel_shuffle(self.net(torch.cat(parts, dim=1)), 2) + self.bias

    def forward(
        self,
        before: Tensor,
        after: Tensor,
        before_probabilities: Tensor,
        after_probabilities: Tensor,
    ) -> Tensor:
        """The change probability; 255 where either date is nodata."""
        seen = observed(reflectance(before)) & observed(reflectance(after))
        logits = self.logits(before, after, before_probabilities, after_probabilities)
        return quantise(torch.sigmoid(logits / self.spread), seen).squeeze(1)


def _probability(levels: Tensor) -> Tensor:
    p = levels.to(torch.float32) / PROBABILITY_MAX
    return torch.where(p > 1, torch.zeros_like(p), p)  # 255: not observed


def parameters(net: nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in net.parameters())


def build(name: str, **options: Any) -> nn.Module:
    """The network of a model by name. Raises KeyError for a name that is none."""
    return {"cloud-mask": CloudMask, "segmenter": Segmenter, "change-classifier": ChangeClassifier}[
        name
    ](**options)


def dummy_inputs(name: str, *, size: int = 64, batch: int = 2) -> Sequence[Tensor]:
    """Inputs of the right dtype and shape, for export and smoke tests."""
    draw = torch.Generator().manual_seed(0)

    def image(bands: int) -> Tensor:
        shape = (batch, bands, size, size)
        return torch.randint(200, 4000, shape, generator=draw, dtype=torch.int32).to(torch.uint16)

    if name == "cloud-mask":
        return (image(4),)
    if name == "segmenter":
        return (image(6),)
    levels = [
        torch.randint(0, 255, (batch, 6, size, size), generator=draw, dtype=torch.uint8)
        for _ in range(2)
    ]
    return (image(6), image(6), *levels)
