"""VGG-16 as DRS has it: layout, strides, weights of torchvision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from wsss_platform.config import BackboneConfig
from wsss_platform.errors import InputError
from wsss_platform.nets.build import build_backbone

CONFIG = BackboneConfig(name="vgg16", weights="none", output_stride=8)
STRIDES = {"stage1": 1, "stage2": 2, "stage3": 4, "stage4": 8, "stage5": 8, "final": 8}


@pytest.mark.parametrize("size", [(64, 96), (61, 47), (16, 16)], ids=str)
def test_taps(size: tuple[int, int]) -> None:
    backbone = build_backbone(CONFIG)
    with torch.inference_mode():
        maps = backbone(torch.randn(2, 3, *size))
    assert list(maps) == list(backbone.taps) == list(STRIDES)
    for tap, stride in STRIDES.items():
        assert maps[tap].shape == (2, backbone.taps[tap], -(-size[0] // stride), -(-size[1] // stride)), tap
        assert maps[tap].std() > 1e-3, f"{tap} carries no signal"
    assert list(backbone.taps.values()) == [64, 128, 256, 512, 512, 512]


def test_layout_is_the_released_one() -> None:
    """DRS, models/vgg.py, cfg["D1"]: 64 64 M 128 128 M 256 x3 M 512 x3 N 512 x3 dilated by 2."""
    layout = []
    for module in build_backbone(CONFIG).get_submodule("features").children():
        if isinstance(module, nn.Conv2d):
            assert module.kernel_size == (3, 3)
            assert module.padding == module.dilation
            layout.append((module.out_channels, module.dilation[0]))
        elif isinstance(module, nn.MaxPool2d):
            layout.append(("pool", module.kernel_size, module.stride, module.padding))
    halving, keeping = ("pool", 2, 2, 0), ("pool", 3, 1, 1)
    first = [(64, 1)] * 2 + [halving] + [(128, 1)] * 2 + [halving] + [(256, 1)] * 3 + [halving]
    assert layout == first + [(512, 1)] * 3 + [keeping] + [(512, 2)] * 3
    assert sum(p.numel() for p in build_backbone(CONFIG).parameters()) == 14_714_688


def test_it_takes_torchvision_files(tmp_path: Path) -> None:
    network = torchvision.models.vgg16()
    path = tmp_path / "vgg16.pth"
    state = {name: value for name, value in network.state_dict().items() if not name.startswith("classifier.0")}
    torch.save(state, path)
    backbone = build_backbone(BackboneConfig(name="vgg16", weights=str(path), output_stride=8)).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():  # up to the third pool nothing is changed
        torch.testing.assert_close(backbone(image)["stage3"], network.features[:16](image))


@pytest.mark.parametrize("name", ["vgg16", "wide_resnet38"])
@pytest.mark.parametrize("stride", [16, 32])
def test_other_strides_are_refused(name: str, stride: int) -> None:
    with pytest.raises(ValueError, match=f"{name} has output_stride 8 only"):
        BackboneConfig.model_validate({"name": name, "output_stride": stride})


def test_without_a_network_the_message_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.raises(InputError, match=r"vgg16 could not be fetched.*backbone\.weights to the file's path"):
        build_backbone(BackboneConfig(name="vgg16", output_stride=8))
