"""The authors' network written anew from its published structure, in plain torch: what an import must equal.

Its modules carry the authors' names, so that its state dict has the keys of the released file. Nothing of timm is in
it. Published structure: TResNet (arXiv 2003.13630; M has 3, 4, 11, 3 blocks), with in-place activated batch norm
(arXiv 1712.02616); the head of arXiv 2105.05926.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional


class Abn(nn.Module):
    """In-place ABN in evaluation: normalise, scale by |weight| + eps, shift, leaky ReLU (slope 1 is the identity)."""

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.register_buffer("running_mean", torch.empty(channels))
        self.register_buffer("running_var", torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        def per_channel(values: Tensor) -> Tensor:
            return values[None, :, None, None]

        mean, variance = self.get_buffer("running_mean"), self.get_buffer("running_var")
        normal = (x - per_channel(mean)) / torch.sqrt(per_channel(variance) + 1e-5)
        y = normal * per_channel(self.weight.abs() + 1e-5) + per_channel(self.bias)
        return torch.where(y >= 0, y, self.slope * y)


class Blur(nn.Module):
    """Binomial 3 x 3 filter and every second pixel; its filter may be part of the state dict, as `op.filt`."""

    def __init__(self, channels: int, *, stored: bool) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 2.0, 1.0])
        filters = (torch.outer(taps, taps) / 16).repeat(channels, 1, 1, 1)
        self.op = nn.Module()
        self.op.register_buffer("filt", filters, persistent=stored)

    def forward(self, x: Tensor) -> Tensor:
        padded = functional.pad(x, (1, 1, 1, 1), mode="reflect")
        return functional.conv2d(padded, self.op.get_buffer("filt"), stride=2, groups=x.shape[1])


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, reduced, 1), nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.fc2(functional.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


def convolved(inputs: int, outputs: int, size: int, slope: float) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), Abn(outputs, slope))


class Block(nn.Module):
    """Residual block: two 3 x 3 convolutions, or (bottleneck) 1 x 1, 3 x 3, 1 x 1 to four times the planes."""

    def __init__(self, inputs: int, planes: int, stride: int, *, bottleneck: bool, gated: bool, stored: bool) -> None:
        super().__init__()
        outputs = 4 * planes if bottleneck else planes
        self.bottleneck = bottleneck
        spatial = convolved(planes if bottleneck else inputs, planes, 3, 1e-3)
        if stride == 2:
            spatial = nn.Sequential(spatial, Blur(planes, stored=stored))
        if bottleneck:
            self.conv1, self.conv2 = convolved(inputs, planes, 1, 1e-3), spatial
            self.conv3 = convolved(planes, outputs, 1, 1.0)
        else:
            self.conv1, self.conv2 = spatial, convolved(planes, planes, 3, 1.0)
        self.downsample = None
        if stride == 2 or inputs != outputs:
            pool = [nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)] if stride == 2 else []
            self.downsample = nn.Sequential(*pool, convolved(inputs, outputs, 1, 1.0))
        self.se = SqueezeExcite(planes, max(outputs // (8 if bottleneck else 4), 64)) if gated else None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x))
        if self.se is not None:
            y = self.se(y)
        if self.bottleneck:
            y = self.conv3(y)
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class OfficialNetwork(nn.Module):
    """TResNet-M with the head that gives D * M numbers, D-major."""

    def __init__(self, vectors: int, dimension: int, *, stored_filters: bool = False) -> None:
        super().__init__()

        def stage(inputs: int, planes: int, blocks: int, stride: int, **kind: bool) -> nn.Sequential:
            width = 4 * planes if kind["bottleneck"] else planes
            first = Block(inputs, planes, stride, stored=stored_filters, **kind)
            return nn.Sequential(first, *(Block(width, planes, 1, stored=False, **kind) for _ in range(1, blocks)))

        layers = OrderedDict(
            conv1=convolved(48, 64, 3, 1e-2),
            layer1=stage(64, 64, 3, 1, bottleneck=False, gated=True),
            layer2=stage(64, 128, 4, 2, bottleneck=False, gated=True),
            layer3=stage(128, 256, 11, 2, bottleneck=True, gated=True),
            layer4=stage(1024, 512, 3, 2, bottleneck=True, gated=False),
        )
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.embedding = nn.Linear(2048, vectors * dimension, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        B, _, H, W = pixels.shape
        blocks = pixels.reshape(B, 3, H // 4, 4, W // 4, 4)
        y = blocks.permute(0, 3, 5, 1, 2, 4).reshape(B, 48, H // 4, W // 4)  # channels: row, column, colour
        for layer in (self.conv1, self.layer1, self.layer2, self.layer3, self.layer4):
            y = layer(y)
        flat: Tensor = self.embedding(y.mean(dim=(2, 3)))
        return flat

    @torch.no_grad()
    def randomise(self, seed: int = 0) -> OfficialNetwork:
        """Random weights that keep signals of order one; ABN weights of both signs, statistics that are not 0 and 1."""
        random = torch.Generator().manual_seed(seed)

        def drawn(like: Tensor, scale: float = 1.0) -> Tensor:
            return scale * torch.randn(like.shape, generator=random)

        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.copy_(drawn(module.weight, (2 / module.weight[0].numel()) ** 0.5))
                if module.bias is not None:
                    module.bias.copy_(drawn(module.bias, 0.5))
            elif isinstance(module, Abn):
                module.weight.copy_(drawn(module.weight, 0.7))
                module.bias.copy_(drawn(module.bias, 0.3))
                module.get_buffer("running_mean").copy_(drawn(module.bias, 0.3))
                module.get_buffer("running_var").copy_(0.5 + drawn(module.bias).abs())
        return self.eval()
