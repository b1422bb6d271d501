"""The suppression layer against a loop, its gradient and limits, and where `suppress` puts it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from wsss_platform.config import BackboneConfig, SampleConfig, SuppressionConfig
from wsss_platform.data.sample.dataset import SampleDataset
from wsss_platform.data.views import normalise
from wsss_platform.errors import InputError
from wsss_platform.nets.backbones.backbone import Backbone
from wsss_platform.nets.build import build_backbone
from wsss_platform.nets.heads.suppression import Suppression, activation, suppress


def _backbone(name: str, stride: int = 8) -> Backbone:
    return build_backbone(BackboneConfig.model_validate({"name": name, "weights": "none", "output_stride": stride}))


def _slow(x: Tensor, delta: float, weight: Tensor | None, ceiling: float | None) -> Tensor:
    """The formula, place by place."""
    out = torch.zeros_like(x)
    count, channels, height, width = x.shape
    for b in range(count):
        a = [
            [[min(max(float(v), 0.0), ceiling or math.inf) for v in row] for row in x[b, c].tolist()]
            for c in range(channels)
        ]
        means = [sum(map(sum, a[c])) / (height * width) for c in range(channels)]
        for c in range(channels):
            u = delta
            if weight is not None:
                u = 1 / (1 + math.exp(-sum(float(weight[c, k]) * means[k] for k in range(channels))))
            strongest = max(map(max, a[c]))
            for i in range(height):
                for j in range(width):
                    out[b, c, i, j] = min(a[c][i][j], strongest * u)
    return out


@pytest.mark.parametrize("control", ["learnable", "constant"])
@pytest.mark.parametrize("ceiling", [None, 6.0], ids=["relu", "relu6"])
def test_it_is_the_formula(control: str, ceiling: float | None) -> None:
    torch.manual_seed(0)
    layer = Suppression(3, control, 0.55, ceiling=ceiling)  # type: ignore[arg-type]
    if layer.control is not None:
        nn.init.normal_(layer.control.weight)
    x = 8 * torch.randn(2, 3, 4, 5)
    weight = None if layer.control is None else layer.control.weight.detach()
    torch.testing.assert_close(layer(x).detach(), _slow(x, 0.55, weight, ceiling))


def _plain(x: Tensor, layer: Suppression) -> Tensor:
    """The formula in autograd's own operations."""
    a = x.clamp(min=0) if layer.ceiling is None else x.clamp(0, layer.ceiling)
    u = layer.delta if layer.control is None else torch.sigmoid(layer.control(a.mean((2, 3))))[:, :, None, None]
    return torch.minimum(a, a.flatten(2).max(2).values[:, :, None, None] * u)


@pytest.mark.parametrize("control", ["learnable", "constant"])
@pytest.mark.parametrize("ceiling", [None, 6.0], ids=["relu", "relu6"])
def test_its_gradient_is_that_of_the_formula(control: str, ceiling: float | None) -> None:
    torch.manual_seed(1)
    layer = Suppression(4, control, 0.4, ceiling=ceiling).double()  # type: ignore[arg-type]
    if layer.control is not None:
        nn.init.normal_(layer.control.weight)
    x = (4 * torch.randn(2, 4, 5, 3, dtype=torch.float64)).requires_grad_()
    weights = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    inputs = [x, *layer.parameters()]
    for mine, wanted in zip(
        torch.autograd.grad((layer(x) * weights).sum(), inputs),
        torch.autograd.grad((_plain(x, layer) * weights).sum(), inputs),
        strict=True,
    ):
        assert wanted.abs().sum() > 0
        torch.testing.assert_close(mine, wanted)
    smooth = (torch.rand(2, 4, 5, 3, dtype=torch.float64) * 5 + 0.1).requires_grad_()  # away from the kinks at 0 and 6
    assert torch.autograd.gradcheck(layer, (smooth,))


def test_what_is_cut_sends_its_gradient_to_the_strongest_place() -> None:
    x = torch.tensor([[[[4.0, 3.0, 1.0, -2.0]]]], requires_grad=True)
    Suppression(1, "constant", 0.5)(x).sum().backward()
    # 4 and 3 are cut to 4 x 0.5: each sends 0.5 to the 4; 1 is below the bound and -2 is not active
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [1.0, 0.0, 1.0, 0.0]


def test_of_equal_strongest_places_one_gets_the_gradient() -> None:
    x = torch.full((1, 1, 2, 2), 3.0, requires_grad=True)
    Suppression(1, "constant", 0.5)(x).sum().backward()
    assert x.grad is not None
    assert sorted(x.grad.flatten().tolist()) == [0.0, 0.0, 0.0, 2.0]


def test_the_learnable_control_starts_near_a_half_and_learns_from_the_loss() -> None:
    torch.manual_seed(0)
    layer = Suppression(256, "learnable", 0.0)
    assert layer.control is not None
    assert 0.009 < float(layer.control.weight.detach().std()) < 0.011
    out = layer(torch.rand(1, 256, 6, 6))
    out.sum().backward()
    assert layer.control.weight.grad is not None
    assert layer.control.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("delta", "kept"), [(1.0, 1.0), (0.0, 0.0)])
def test_limits_of_delta(delta: float, kept: float) -> None:
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(Suppression(3, "constant", delta)(x), kept * x.relu())


@pytest.mark.parametrize("control", ["learnable", "constant"])
def test_nothing_active_gives_zero_and_a_finite_gradient(control: str) -> None:
    x = (-torch.rand(1, 2, 3, 3)).requires_grad_()
    out = Suppression(2, control, 0.5)(x)  # type: ignore[arg-type]
    assert not out.any()
    out.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    ("name", "everywhere", "third", "fourth"),
    # The released networks count 13 on VGG-16; ResNet-50: 3 per block and the stem; the others by their layers.
    [("vgg16", 13, 9, 6), ("resnet50", 49, 27, 9), ("efficientnet_lite0", 33, 23, 11), ("wide_resnet38", 37, 25, 13)],
)
def test_placement(name: str, everywhere: int, third: int, fourth: int) -> None:
    for placement, count in (("all", everywhere), ("stage3", third), ("stage4", fourth), ("last", 1)):
        network = _backbone(name)
        config = SuppressionConfig.model_validate({"placement": placement, "control": "constant"})
        assert suppress(network, config) == count
        assert sum(isinstance(module, Suppression) for module in network.modules()) == count
    assert suppress(_backbone(name), SuppressionConfig(control="off")) == 0


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "efficientnet_lite0", "wide_resnet38"])
def test_the_last_one_is_what_the_classifier_sees(name: str) -> None:
    """At delta 0 the last map is 0, and no map before it changes."""
    plain, last = _backbone(name), _backbone(name)
    last.load_state_dict(plain.state_dict())
    suppress(last, SuppressionConfig(control="constant", delta=0, placement="last"))
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before, after = plain.eval()(images), last.eval()(images)
    assert before["final"].any()
    assert not after["final"].any()
    same = [tap for tap in before if torch.equal(before[tap], after[tap])]
    assert len(same) >= 3


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "efficientnet_lite0", "wide_resnet38"])
def test_at_delta_one_the_network_is_the_same(name: str) -> None:
    """No activation is missed in shape or order, and none changes: the bound is the maximum itself."""
    network = _backbone(name).eval()
    image = torch.randn(1, 3, 40, 48)
    with torch.inference_mode():
        before = network(image)
        suppress(network, SuppressionConfig(control="constant", delta=1.0))
        after = network(image)
        for tap in network.taps:
            torch.testing.assert_close(after[tap], before[tap])
        for module in network.modules():
            if isinstance(module, Suppression):
                module.delta = 0.5
        assert not torch.allclose(network(image)["final"], before["final"]), "the layers do something"


def test_finding_the_channels_changes_nothing() -> None:
    network = build_backbone(BackboneConfig(weights="none", batch_norm="train")).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    suppress(network, SuppressionConfig(control="constant"))
    assert network.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class _Shared(Backbone):
    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"final": self.relu(self.relu(images))}

    def stage_of(self, module: str) -> int:
        return 1


def test_an_activation_used_twice_is_refused() -> None:
    with pytest.raises(InputError, match=r"_Shared\.relu is used 2 times"):
        suppress(_Shared(), SuppressionConfig())


def test_off_is_a_plain_activation() -> None:
    assert isinstance(activation(4, SuppressionConfig(control="off")), nn.ReLU)
    assert isinstance(activation(4, SuppressionConfig()), Suppression)


@pytest.mark.parametrize("control", ["learnable", "constant"])
def test_half_precision_is_near_the_full_one(control: str) -> None:
    torch.manual_seed(0)
    layer = Suppression(8, control, 0.55)  # type: ignore[arg-type]
    x = torch.randn(2, 8, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(x.bfloat16().requires_grad_())
        half.sum().backward()
    assert half.dtype == torch.bfloat16
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in layer.parameters())
    torch.testing.assert_close(half.float(), layer(x), rtol=0.03, atol=0.03)


def test_memory_format_changes_nothing() -> None:
    layer = Suppression(8, "learnable", 0.0)
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(layer(x.contiguous(memory_format=torch.channels_last)), layer(x))


def test_cuts_multiply_with_depth() -> None:
    """Why the sample's preset suppresses the last activation alone: at the release's placement hardly anything of a
    pretrained EfficientNet-Lite0's last map differs between places, so nothing is left to localise with."""
    dataset = SampleDataset(SampleConfig(co_occurrence=0.9))
    split = dataset.split("train")
    images = torch.stack([torch.from_numpy(normalise(split.read(name).image[:96, :96])) for name in split.ids[:2]])

    def varies(placement: str, delta: float) -> float:
        """The part of the last map's energy that is not its mean over places."""
        network = build_backbone(BackboneConfig())
        config = {"control": "constant", "delta": delta, "placement": placement}
        suppress(network, SuppressionConfig.model_validate(config))
        with torch.no_grad():
            last = network.eval()(images)["final"]
        return float((last - last.mean((2, 3), keepdim=True)).square().sum() / last.square().sum())

    assert varies("all", 0.55) < 0.1 * varies("all", 1)
    assert varies("last", 0.55) > 0.9 * varies("all", 1)
    assert varies("all", 0.55) < varies("stage4", 0.55) < varies("stage4", 0.8) < varies("last", 0.55)
