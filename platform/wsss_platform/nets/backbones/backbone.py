"""What every backbone is: named taps, a chosen output stride, frozen BatchNorm, initial weights from a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from wsss_platform.errors import InputError

MEAN = (0.485, 0.456, 0.406)
"""ImageNet mean of RGB in 0..1, removed from the images that a backbone is given."""
DEVIATION = (0.229, 0.224, 0.225)
"""ImageNet standard deviation of RGB in 0..1, by which those images were divided."""
_NUMBERS: list[Any] = [
    np.dtype,
    *{type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int32, np.int64)},
    *((np.float64(0).__reduce__()[0], f"numpy.{package}.multiarray.scalar") for package in ("core", "_core")),
]
"""What torch.load needs for numpy's numbers, beside tensors: released checkpoints hold a score as one (DRS's "miou").
None of it runs anything of the file."""


class Backbone(nn.Module, ABC):
    """A feature extractor. `forward(images [B, 3, H, W])` -> maps by tap name; images are ImageNet-normalised.

    A map at stride s has ceil(H / s) x ceil(W / s) positions. "stage1".. are the ends of the network's stages
    (of ResNet-50 and EfficientNet-Lite0 at strides 4, 8, 16, 32, but never above `output_stride`), "final" is the
    last map. Each activation is a module of its own, so that it can be replaced (`suppression`).
    """

    taps: dict[str, int]
    """Tap name -> channels, in order."""
    output_stride: int
    """Input pixels per position of "final"."""

    @property
    def channels(self) -> int:
        """Channels of "final"."""
        return self.taps["final"]

    @abstractmethod
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps by tap name."""

    @abstractmethod
    def stage_of(self, module: str) -> int:
        """The stage, from 1, that a submodule belongs to; 0 is a stem before them."""


class FrozenBatchNorm(nn.Module):
    """BatchNorm that always uses its stored statistics and never trains (IRN's FixedBatchNorm, affine frozen too).

    No subclass of BatchNorm: `.train()`, SyncBatchNorm conversion and BatchNorm recalibration leave it alone.
    The state dict has BatchNorm's names.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> the same shape."""
        return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

    def affine(self) -> tuple[Tensor, Tensor]:
        """(scale, shift), each [C]: the layer is scale * x + shift, so a convolution before it can take it over."""
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale


def download(url: str, name: str) -> dict[str, Tensor]:
    """torchvision's ImageNet weights, from its cache or the net.

    Raises:
        InputError: they cannot be fetched; says what else `backbone.weights` may be.
    """
    try:
        state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(url, progress=False, weights_only=True)
    except (URLError, OSError, RuntimeError) as error:
        raise InputError(
            f"backbone.weights: 'imagenet' for {name} could not be fetched from {url} ({error}); "
            "download it elsewhere and set backbone.weights to the file's path, or to 'none' for random values",
            field="backbone.weights",
        ) from None
    return state


def read_state(path: Path, field: str = "backbone.weights") -> dict[str, Tensor]:
    """A local state dict (plain, or under "state_dict" or "model"), without running any pickled code.

    Args:
        path: of the file.
        field: what named it, for messages.

    Raises:
        InputError: the file is missing or is no state dict.
    """
    try:
        with torch.serialization.safe_globals(_NUMBERS):
            state = torch.load(path.expanduser(), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{field}: {path}: no such file", field=field) from None
    except Exception as error:  # noqa: BLE001  torch.load raises a dozen kinds for a file that is no checkpoint
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{field}: {path}: not a state dict that torch.load can read: {reason}", field=field) from None
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{field}: {path}: expected a state dict, name -> tensor", field=field)
    return {name.removeprefix("module."): value for name, value in state.items()}


def load_strict(network: nn.Module, state: Mapping[str, Tensor], where: str, unused: tuple[str, ...] = ()) -> None:
    """Load every tensor of `network`; nothing may be missing, left over or of another shape.

    Args:
        network: takes the tensors.
        state: name -> tensor.
        where: file or name, for the message.
        unused: prefixes of names that the network does not have on purpose (an ImageNet classifier).

    Raises:
        InputError: which names are missing, unexpected or of another shape.
    """
    own = network.state_dict()
    given = {name: value for name, value in state.items() if not name.startswith(unused)} if unused else dict(state)
    counters = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    given = {**counters, **given}  # old files have no such counters, and nothing here uses them
    missing, unexpected = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    shapes = [
        f"{name} {tuple(given[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & given.keys()
        if given[name].shape != own[name].shape
    ]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": sorted(shapes)}
    if any(problems.values()):
        told = "; ".join(f"{len(names)} {what}: {_few(names)}" for what, names in problems.items() if names)
        raise InputError(
            f"backbone.weights: {where} does not fit {type(network).__name__}: {told}", field="backbone.weights"
        )
    network.load_state_dict(given)


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def normaliser(channels: int, eps: float, *, frozen: bool) -> nn.Module:
    """BatchNorm, frozen or trained, under the same state-dict names."""
    return FrozenBatchNorm(channels, eps) if frozen else nn.BatchNorm2d(channels, eps=eps)
