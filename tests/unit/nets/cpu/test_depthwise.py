"""The depthwise convolution with gradients of its own, against PyTorch's and against numerical gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from wsss_platform.config import BackboneConfig
from wsss_platform.nets.build import build_backbone
from wsss_platform.nets.cpu import depthwise as module
from wsss_platform.nets.cpu.depthwise import depthwise, serves


def gradients(y: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    return torch.autograd.grad((y * torch.randn(y.shape, dtype=y.dtype)).sum(), of)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("at_once", [1, 1 << 19])
@pytest.mark.parametrize(
    ("size", "kernel", "padding", "dilation"),
    [
        ((8, 8), (5, 5), (4, 4), 2),
        ((7, 10), (5, 5), (4, 4), 2),
        ((3, 2), (5, 5), (4, 4), 2),  # smaller than the kernel reaches
        ((1, 1), (5, 5), (8, 8), 4),
        ((9, 8), (3, 3), (2, 2), 2),
        ((9, 12), (3, 5), (0, 3), 2),  # uneven, and less padding than keeps the size
        ((12, 9), (3, 3), (4, 4), 4),
        ((6, 6), (3, 3), (1, 1), 1),
    ],
)
def test_it_is_pytorchs(
    size: tuple[int, int],
    kernel: tuple[int, int],
    padding: tuple[int, int],
    dilation: int,
    at_once: int,
    channels_last: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    torch.manual_seed(0)
    form = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn(3, 6, *size, dtype=torch.float64).to(memory_format=form).requires_grad_()
    weight = torch.randn(6, 1, *kernel, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(6, dtype=torch.float64, requires_grad=True)
    ours = depthwise(x, weight, bias, padding, dilation)
    theirs = functional.conv2d(x, weight, bias, 1, padding, dilation, 6)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    for own, other in zip(gradients(ours, x, weight, bias), gradients(theirs, x, weight, bias), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-12)


def test_its_gradients_are_the_numerical_ones() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: depthwise(a, b, None, (2, 2), 2), (x, weight))


def test_what_needs_no_gradient_gets_none() -> None:
    x = torch.randn(1, 2, 4, 4)
    weight = torch.randn(2, 1, 3, 3, requires_grad=True)
    depthwise(x, weight, None, (2, 2), 2).sum().backward()
    assert weight.grad is not None
    assert x.grad is None


def test_it_serves_training_on_a_cpu_alone() -> None:
    x = torch.randn(1, 4, 5, 5)
    assert serves(x, 1, 2, 4)
    assert not serves(x, 1, 1, 4), "PyTorch's own is quick"
    assert not serves(x, 2, 2, 4)
    assert not serves(x, 1, 2, 1)
    assert not serves(x.bfloat16(), 1, 2, 4)
    with torch.no_grad():
        assert not serves(x, 1, 2, 4)


@pytest.mark.parametrize("stride", [16, 8])
def test_a_network_learns_the_same_with_it(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = build_backbone(BackboneConfig(output_stride=stride, weights="imagenet"))
    images = torch.randn(2, 3, 96, 64).to(memory_format=torch.channels_last)
    used = []

    def counted(*arguments: object) -> Tensor:
        used.append(1)
        return depthwise(*arguments)  # type: ignore[arg-type]

    def slopes() -> list[Tensor]:
        network.zero_grad()
        network(images)["final"].square().mean().backward()
        return [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]

    with monkeypatch.context() as patch:
        patch.setattr("wsss_platform.nets.backbones.efficientnet_lite0.depthwise", counted)
        ours = slopes()
    assert len(used) == {16: 4, 8: 10}[stride], "the blocks behind the last two or one halvings"
    monkeypatch.setattr("wsss_platform.nets.backbones.efficientnet_lite0.serves", lambda *_: False)
    for own, other in zip(ours, slopes(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-5 * float(other.abs().max()) + 1e-12)
