"""3x3 convolutions with a quarter of the multiplications, where a network only makes maps on a CPU.

Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, arXiv 1509.09308, with their matrices): 4x4 outputs are a
product of 6x6 transformed inputs and weights, summed over channels by 36 matrix products; PyTorch takes the direct
form. Rounding is several times that of the direct form; the tests hold it to 2e-5 of the largest value. What it wins is
in docs/benchmarks.md (`python -m benchmarks inference`); with few channels the transforms cost more than they save.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_CHANNELS = 128
"""In and out; below, the direct form is as quick."""
_MEMORY = 256 * 2**20
"""Bytes for the transformed weights of a network, four times the originals: all of ResNet-50's and VGG-16's."""
_TILE, _PATCH = 4, 6
_FILLED, _FEWEST = 0.6, 8
"""Share of the tiles' positions that an input must have, and tiles; with less the direct form is as quick."""
_AT_ONCE = 1 << 22
"""Values of what is between the steps, which are done for some rows of tiles after the other: 16 MB, three times."""

_INPUT = torch.tensor(
    [
        [4.0, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    dtype=torch.float32,
)
_WEIGHT = torch.tensor(
    [[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
    dtype=torch.float64,
).div(24)
_OUTPUT = torch.tensor(
    [[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], dtype=torch.float32
)
_INPUT_BOTH, _OUTPUT_BOTH = (torch.kron(matrix, matrix) for matrix in (_INPUT, _OUTPUT))
"""Of rows and columns in one product: [36, 36] and [16, 36]."""


def quicken(network: nn.Module, memory: int = _MEMORY) -> None:
    """Replace the 3x3 convolutions of many channels, in place; the weights must stay as they are from now on.

    The first ones come first, because they see the most positions, until `memory` bytes of transformed weights are used
    up. Weights are transformed when they are first needed, so a part that is never called costs nothing.
    """
    quick = [module for module in network.modules() if isinstance(module, QuickConvolution)]
    memory -= sum(_needed(module) for module in quick)
    for name, module in [*network.named_modules()]:
        if type(module) is not nn.Conv2d or not _serves(module) or _needed(module) > memory:
            continue
        memory -= _needed(module)
        place, _, last = name.rpartition(".")
        setattr(network.get_submodule(place), last, QuickConvolution(module))


def _needed(convolution: nn.Conv2d) -> int:
    """Bytes of the transformed weight."""
    return 4 * _PATCH**2 * convolution.in_channels * convolution.out_channels


def _serves(convolution: nn.Conv2d) -> bool:
    return (
        convolution.kernel_size == (3, 3)
        and convolution.stride == (1, 1)
        and convolution.groups == 1
        and convolution.dilation[0] == convolution.dilation[1]
        and convolution.padding == convolution.dilation
        and convolution.padding_mode == "zeros"
        and convolution.weight.dtype == torch.float32
        and min(convolution.in_channels, convolution.out_channels) >= _CHANNELS
    )


class QuickConvolution(nn.Conv2d):
    """A 3x3 convolution of stride 1, padded by its dilation; in the direct form where gradients are wanted, and of
    anything but float32 on a CPU."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        """Take over the parameters of `convolution`."""
        super().__init__(
            convolution.in_channels,
            convolution.out_channels,
            3,
            padding=convolution.dilation[0],
            dilation=convolution.dilation[0],
            bias=convolution.bias is not None,
            device="meta",
        )
        self.weight, self.bias = convolution.weight, convolution.bias
        self._transformed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, D, H, W]; in channels_last where it is quick."""
        plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if torch.is_grad_enabled() or not plain or not pays(x.shape, self.dilation[0]):
            return super().forward(x)
        if self._transformed is None:
            self._transformed = transformed_weight(self.weight)
        return winograd(x, self._transformed, self.bias, self.dilation[0])


def pays(shape: Sequence[int], dilation: int) -> bool:
    """Whether an input [B, C, H, W] fills the tiles well enough, and has enough of them for the larger weights."""
    if len(shape) != 4 or min(shape) == 0:
        return False
    batch, _, height, width = shape
    rows, columns = _tiles(height, dilation), _tiles(width, dilation)
    filled = height * width / (rows * columns * (_TILE * dilation) ** 2)
    return filled >= _FILLED and batch * rows * columns * dilation**2 >= _FEWEST


def _tiles(side: int, dilation: int) -> int:
    return -(-side // (_TILE * dilation))


def transformed_weight(weight: Tensor) -> Tensor:
    """[D, C, 3, 3] -> [36, C, D], computed in float64."""
    found = torch.einsum("pi,dcij,qj->pqcd", _WEIGHT, weight.detach().cpu().double(), _WEIGHT)
    return found.flatten(0, 1).to(weight.dtype).contiguous()


def winograd(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int = 1) -> Tensor:
    """As functional.conv2d with stride 1 and padding = dilation.

    Args:
        x: [B, C, H, W].
        weight: of `transformed_weight`.
        bias: [D] or None.
        dilation: d; each of the d x d grids of positions d apart is a convolution of its own.

    Returns:
        [B, D, H, W], channels_last.
    """
    batch, channels, height, width = x.shape
    rows, columns, filters = _tiles(height, dilation), _tiles(width, dilation), weight.shape[2]
    after = [(_TILE * count + 1) * dilation - side for count, side in ((columns, width), (rows, height))]
    padded = functional.pad(x, (dilation, after[0], dilation, after[1])).permute(0, 2, 3, 1).contiguous()
    image, down, right, _ = padded.stride()
    across = (dilation, columns, dilation)
    patches = padded.as_strided(
        (rows, _PATCH, _PATCH, batch, *across, channels),
        (down * dilation * _TILE, down * dilation, right * dilation, image, down, right * dilation * _TILE, right, 1),
    )
    whole = x.new_empty(batch, rows, _TILE, dilation, columns, _TILE, dilation, filters)
    band = max(1, _AT_ONCE // (_PATCH**2 * batch * columns * dilation**2 * max(channels, filters)))
    for first in range(0, rows, band):
        some = patches[first : first + band].movedim(0, 3)  # [6, 6, B, band, d, columns, d, C]
        spectrum = _INPUT_BOTH @ some.reshape(_PATCH**2, -1)
        products = torch.bmm(spectrum.view(_PATCH**2, -1, channels), weight)
        found = _OUTPUT_BOTH @ products.view(_PATCH**2, -1)
        outputs = found.view(_TILE, _TILE, batch, -1, *across, filters)
        whole[:, first : first + band] = outputs.permute(2, 3, 0, 4, 5, 1, 6, 7)
    flat = whole.view(batch, rows * _TILE * dilation, columns * _TILE * dilation, filters)[:, :height, :width]
    return (flat.contiguous() if bias is None else flat + bias).permute(0, 3, 1, 2)
