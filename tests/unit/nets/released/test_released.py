"""Released names -> ours, on state dicts with the names of the public code, checked by what the networks compute."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
import torch
import torchvision
from torch import Tensor
from torch.nn import functional

from wsss_methods import get as method
from wsss_platform.config import BackboneConfig, SuppressionConfig, override
from wsss_platform.errors import InputError
from wsss_platform.method.module import TrainingModule
from wsss_platform.nets import released
from wsss_platform.nets.backbones.wide_resnet38 import WideResNet38
from wsss_platform.nets.heads.drs_classifier import DrsClassifier
from wsss_platform.nets.released.names import Release, convert, translate

VGG = BackboneConfig(name="vgg16", weights="none", output_stride=8)
WIDE = BackboneConfig(name="wide_resnet38", weights="none", output_stride=8)
STEPS = (
    # DRS's models/vgg.py in the order of its forward: names of layers, their channels, their index in `features`
    *(("layer1_conv1", 3, 64, 0), ("layer1_conv2", 64, 64, 2), "pool", ("layer2_conv1", 64, 128, 5)),
    *(("layer2_conv2", 128, 128, 7), "pool", ("layer3_conv1", 128, 256, 10), ("layer3_conv2", 256, 256, 12)),
    *(("layer3_conv3", 256, 256, 14), "pool", ("layer4_conv1", 256, 512, 17), ("layer4_conv2", 512, 512, 19)),
    *(("layer4_conv3", 512, 512, 21), "even", ("layer5_conv1", 512, 512, 24), ("layer5_conv2", 512, 512, 26)),
    *(("layer5_conv3", 512, 512, 28), ("extra_conv1", 512, 512, -1), ("extra_conv2", 512, 512, -1)),
    ("extra_conv3", 512, 512, -1),
)


def drs_state(learnable: bool) -> dict[str, Tensor]:
    """A state dict as models/vgg.py (or vgg_refine.py) saves it: each convolution of VGG under two names."""
    state = {}
    for step in STEPS:
        if isinstance(step, str):
            continue
        name, inputs, outputs, index = step
        values = {
            "weight": torch.randn(outputs, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5,
            "bias": 0.1 * torch.randn(outputs),
        }
        for kind, value in values.items():
            state[f"{name}.{kind}"] = value
            if index >= 0:
                state[f"features.{index}.{kind}"] = value
        if learnable:
            state[f"{name.replace('conv', 'relu')}.fc.0.weight"] = 0.1 * torch.randn(outputs, outputs)
    state["extra_conv4.weight"], state["extra_conv4.bias"] = torch.randn(20, 512, 1, 1), torch.randn(20)
    return state


def drs_maps(state: Mapping[str, Tensor], image: Tensor) -> Tensor:
    """What the released network computes from that state dict, before it enlarges or pools."""
    x = image
    for step in STEPS:
        if step == "pool":
            x = functional.max_pool2d(x, 2, 2)
        elif step == "even":
            x = functional.max_pool2d(x, 3, 1, 1)
        else:
            name = str(step[0])
            dilation = 2 if name.startswith("layer5") else 1
            x = functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], 1, dilation, dilation).relu()
            control = state.get(f"{name.replace('conv', 'relu')}.fc.0.weight")
            if control is not None:
                fraction = torch.sigmoid(x.mean((2, 3)) @ control.T)
                x = torch.min(x, (x.amax((2, 3)) * fraction)[:, :, None, None])
    return functional.conv2d(x, state["extra_conv4.weight"], state["extra_conv4.bias"])


def _loaded(module: TrainingModule, state: Mapping[str, Tensor], kind: str) -> TrainingModule:
    result = convert(state, released.get(kind), module.state_dict())
    assert not result.problems
    module.load_state_dict(result.tensors)
    return module.eval()


@pytest.mark.parametrize(("kind", "control"), [("drs-classify", "learnable"), ("drs-refine", "off")])
def test_drs_computes_what_the_released_network_does(kind: str, control: str) -> None:
    state, image = drs_state(learnable=control == "learnable"), torch.randn(1, 3, 32, 48)
    config = SuppressionConfig.model_validate({"control": control})
    module = _loaded(DrsClassifier(VGG, config, 3, 20), state, kind)
    with torch.inference_mode():
        maps = module.class_maps(image, torch.ones(1, 20))
        torch.testing.assert_close(maps, drs_maps(state, image), rtol=1e-3, atol=1e-3)


def amn_state(network: torchvision.models.ResNet) -> dict[str, Tensor]:
    """A state dict as AMN/net/resnet50_amn.py saves it: ResNet-50 under three names, the heads under two."""
    state = {}
    for name, value in network.state_dict().items():
        first, _, rest = name.partition(".")
        if first == "fc":
            continue
        place = {"conv1": "0.0", "bn1": "0.1", "layer1": "0.4"}.get(first) or f"{int(first[-1]) - 1}.0"
        stage, _, inner = place.partition(".")
        state[f"resnet50.{name}"] = value
        state[f"stage{int(stage) + 1}.{inner}.{rest}"] = value
        state[f"backbone.{place}.{rest}"] = value
    heads = {
        "proj_fg.weight": (0, torch.randn(128, 2048, 1, 1)),
        "proj_bg.weight": (1, torch.randn(128, 2048, 1, 1)),
        "label_enc.weight": (3, torch.randn(2048, 20)),
        "label_enc.bias": (3, torch.randn(2048)),
    }
    for branch in range(4):
        heads[f"classifier.1.c{branch}.weight"] = (2, 0.01 * torch.randn(21, 2048, 3, 3))
        heads[f"classifier.1.c{branch}.bias"] = (2, torch.randn(21))
    for name, (place, value) in heads.items():
        state[name] = value
        state[f"newly_added.{place}.{name.partition('.')[2]}"] = value
    return state


def amn_network() -> torchvision.models.ResNet:
    """ResNet-50 at IRN's strides (2, 2, 2, 1), with statistics that keep signals small."""
    network = torchvision.models.resnet50()
    network.layer4[0].conv2.stride = network.layer4[0].downsample[0].stride = (1, 1)
    for name, value in network.named_buffers():
        if name.endswith("running_var"):
            value.uniform_(1, 3)
    return network.eval()


def amn_scores(
    network: torchvision.models.ResNet, state: Mapping[str, Tensor], image: Tensor, labels: Tensor
) -> Tensor:
    """What the released network computes, without its dropout."""
    x = network.maxpool(network.relu(network.bn1(network.conv1(image))))
    x = network.layer4(network.layer3(network.layer2(network.layer1(x))))
    x = x * functional.linear(labels, state["label_enc.weight"], state["label_enc.bias"])[:, :, None, None]
    rates = enumerate((6, 12, 18, 24))
    parts = [(state[f"classifier.1.c{branch}.weight"], state[f"classifier.1.c{branch}.bias"], r) for branch, r in rates]
    return sum((functional.conv2d(x, w, b, 1, rate, rate) for w, b, rate in parts), torch.zeros(()))


def test_fbr_on_amn_computes_what_the_released_network_does() -> None:
    network = amn_network()
    state = amn_state(network)
    fbr = method("fbr")
    changes = {"backbone.name": "resnet50", "backbone.weights": "none", "sampling.bank_size": 16}
    config = override(fbr.config(), changes)
    module = _loaded(fbr.phases(config)[1].build(config, 20), state, "fbr-amn")
    image, labels = torch.randn(1, 3, 64, 48), torch.zeros(1, 20)
    labels[0, 3] = labels[0, 14] = 1
    with torch.inference_mode():
        wanted = amn_scores(network, state, image, labels)
        torch.testing.assert_close(module.class_maps(image, labels), wanted, rtol=1e-3, atol=1e-3)
    ours = module.state_dict()
    assert torch.equal(ours["contrast.project_foreground.weight"], state["proj_fg.weight"])
    assert torch.equal(ours["contrast.project_background.weight"], state["proj_bg.weight"])


def _meta(name: str) -> dict[str, Tensor]:
    """Our state dict without memory for its values."""
    with torch.device("meta"):
        if name == "wide_resnet38":
            return dict(WideResNet38(WIDE).state_dict())
        fbr = method("fbr_s")
        changes = {"backbone.name": "wide_resnet38", "backbone.weights": "none", "backbone.output_stride": 8}
        config = override(fbr.config(), changes)
        return dict(fbr.phases(config)[0].build(config, 20).state_dict())


def _mxnet_name(ours: str) -> str:
    """The name in the authors' file of one of our tensors, put together the other way round."""
    *block, last = ours.split(".")
    ending = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_var"}
    if block == ["conv1a"]:
        return "conv1a_weight"
    if block == ["bn7"]:
        return f"bn7_{ending[last]}"
    group, kind_branch = block
    kind, branch = kind_branch.split("_")
    number, _, repeat = group[1:].partition("_")
    place = f"{number}{'b' + repeat if repeat else 'a'}_{branch}"
    return f"res{place}_weight" if kind == "conv" else f"bn{place}_{ending[last]}"


def test_every_mxnet_name_of_wide_resnet38_is_known() -> None:
    network = _meta("wide_resnet38")
    state = {_mxnet_name(name): value for name, value in network.items() if not name.endswith("tracked")}
    assert {"res2b1_branch2a_weight", "bn2b1_branch2b1_beta", "res6a_branch2b2_weight", "bn5b2_branch2a_gamma"} <= set(
        state
    )
    assert len(state) == sum(not name.endswith("tracked") for name in network)
    state |= {"linear1000_weight": torch.zeros(1000, 4096), "linear1000_bias": torch.zeros(1000)}
    rules = released.get("resnet38-mxnet")
    for ours in network:
        if not ours.endswith("tracked"):
            assert translate(_mxnet_name(ours), rules.rules) == (True, ours)
    result = convert(state, rules, network)
    assert not result.problems
    assert result.left_out == ["linear1000_bias", "linear1000_weight"]
    assert set(result.fresh) == {name for name in network if name.endswith("tracked")}


def test_a_wide_resnet38_is_taken_out_of_other_codes_checkpoints() -> None:
    """Head names of psa resnet38_cls/_aff, SEAM, PPC, FBR and RTC (network/*.py)."""
    network = _meta("wide_resnet38")
    heads: tuple[str, ...] = (
        "fc8",
        "f8_3",
        "f8_4",
        "f8_5",
        "f9",
        "f9_1",
        "f9_2",
        "fc_proj",
        "proj1",
        "classifier1",
        "fc8_seg_conv3",
    )
    heads = (*heads, "_aff.aff_x")
    state = dict(network) | {f"{head}.weight": torch.zeros(1) for head in heads}
    result = convert(state, released.get("resnet38-backbone"), network)
    assert not result.problems
    assert not result.fresh
    assert result.left_out == sorted(f"{head}.weight" for head in heads)
    strange = convert(state | {"fc10.weight": torch.zeros(1)}, released.get("resnet38-backbone"), network)
    assert strange.unexpected == ["fc10.weight"]


def test_every_name_of_fbr_s_is_known() -> None:
    network = _meta("fbr_s")
    backbone = {name.removeprefix("backbone."): v for name, v in network.items() if name.startswith("backbone.")}
    pairs = {
        "fc8.weight": "classifier.weight",
        "proj_fg.weight": "contrast.project_foreground.weight",
        "proj_bg.weight": "contrast.project_background.weight",
        "bg_classifier.weight": "background_classifier.weight",
        "f8_3.weight": "pcm.low.weight",
        "f8_4.weight": "pcm.high.weight",
        "f9.weight": "pcm.mix.weight",
        **{f"bg_bn.{kind}": f"background_norm.{kind}" for kind in ("weight", "bias", "running_mean", "running_var")},
    }
    shapes = {"fc8": (21, 4096), "proj_fg": (128, 4096), "proj_bg": (128, 4096), "bg_classifier": (1, 128)} | {
        "f8_3": (64, 512),
        "f8_4": (128, 1024),
        "f9": (192, 195),
    }
    state = backbone | {
        theirs: torch.empty(*(shapes.get(theirs.split(".")[0], (128,))), *([1, 1] if "bg_bn" not in theirs else []))
        for theirs in pairs
    }
    release = released.get("fbr-s")
    result = convert(state, release, network)
    assert not result.problems
    for theirs, ours in pairs.items():
        assert translate(theirs, release.rules) == (True, ours)
    assert all(name.startswith(("contrast.banks.", "contrast.draw_", "background_norm.num")) for name in result.fresh)


RELEASE = Release("x", "", "", ((r"a\.(\w+)", r"ours.\1"), (r"b\.(\w+)", r"ours.\1"), ("head", None)), fresh=("bank.",))


def test_every_difference_is_listed() -> None:
    network = {"ours.one": torch.zeros(2), "ours.two": torch.zeros(3), "ours.three": torch.zeros(1)}
    network |= {"bank.x": torch.full((2,), 7.0), "n.num_batches_tracked": torch.tensor(0)}
    state = {"a.one": torch.ones(2), "b.one": torch.ones(2), "a.two": torch.ones(4), "head": torch.ones(1)}
    state |= {"a.four": torch.ones(1), "strange": torch.ones(1)}
    result = convert(state, RELEASE, network)
    assert result.found == ["ours.one"]
    assert result.missing == ["ours.three"]
    assert result.unexpected == ["a.four (here ours.four)", "strange"]
    assert result.shapes == ["ours.two (4,) instead of (3,)"]
    assert result.left_out == ["head"]
    assert result.fresh == ["bank.x", "n.num_batches_tracked"]
    assert set(result.problems) == {"missing", "unexpected", "of another shape"}
    assert result.tensors.keys() == network.keys()
    assert result.tensors["ours.one"].tolist() == [1, 1]
    assert result.tensors["ours.two"].tolist() == [0, 0, 0], "what does not fit keeps its initial value"
    assert result.tensors["bank.x"].tolist() == [7, 7]


def test_a_tensor_stored_twice_must_be_the_same() -> None:
    network = {"ours.one": torch.zeros(2)}
    same = convert({"a.one": torch.ones(2), "b.one": torch.ones(2)}, RELEASE, network)
    assert not same.problems
    other = convert({"a.one": torch.ones(2), "b.one": torch.zeros(2)}, RELEASE, network)
    assert other.contradicting == ["ours.one"]


def test_the_type_is_ours() -> None:
    result = convert({"a.one": torch.ones(2, dtype=torch.float16)}, RELEASE, {"ours.one": torch.zeros(2)})
    assert result.tensors["ours.one"].dtype == torch.float32


def test_kinds_have_their_own_names_and_an_unknown_one_is_told_the_nearest() -> None:
    names = [release.name for release in released.releases()]
    assert len(set(names)) == len(names)
    for release in released.releases():
        assert bool(release.backbone) != bool(release.method)
        for pattern, _ in release.rules:
            re.compile(pattern)
    with pytest.raises(InputError, match="did you mean 'drs-classify'"):
        released.get("drs-clasify")
