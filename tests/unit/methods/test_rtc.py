"""RTC as a whole: its network against a transcription of the released forward pass, its terms, its traps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import wsss_methods
import wsss_platform.api as wsss
from wsss_methods.rtc import contrast, losses
from wsss_methods.rtc.config import RtcConfig
from wsss_methods.rtc.module import RtcModule
from wsss_methods.rtc.net import ClassHead, detail_tap
from wsss_methods.rtc.refinement import pseudo_labels
from wsss_platform.config import BackboneConfig, flatten, override, read_toml
from wsss_platform.errors import InputError
from wsss_platform.maps.storage import maps_file, read_maps
from wsss_platform.method.module import Batch
from wsss_platform.nets import released
from wsss_platform.nets.build import build_backbone
from wsss_platform.nets.heads.seam import evidence, min_pooling
from wsss_platform.nets.released.names import convert, translate
from wsss_platform.run.records import read_record
from wsss_platform.store.artefacts import Store

SMALL: dict[str, Any] = {
    "backbone.weights": "none",
    "heads.embedding": 24,
    "heads.dropout": 0.0,
    "heads.widths": [16, 12, 6],
    "views.small": 32,
    "segmentation.start": 0,
    "segmentation.dilations": [1, 2],
    "segmentation.iterations": 1,
}
SIDES = {"stage1": 4, "stage3": 8, "stage4": 8, "final": 8}


def _module(**changes: Any) -> RtcModule:
    """With the strides of WideResNet-38, and features that one convolution makes."""
    config = override(RtcConfig(), {**SMALL, **{path.replace("__", "."): value for path, value in changes.items()}})
    torch.manual_seed(0)
    module = RtcModule(config, 3).train()
    taps = module.backbone.taps
    kernels = {name: 0.1 * torch.randn(taps[name], 3, side, side) for name, side in SIDES.items()}

    def forward(images: Tensor) -> dict[str, Tensor]:
        return {name: functional.conv2d(images, kernel, stride=SIDES[name]).relu() for name, kernel in kernels.items()}

    module.backbone.forward = forward  # type: ignore[method-assign]
    return module


def _batch(count: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(count, 3, 64, 64, generator=generator)
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0]])[:count]
    valid = torch.ones(count, 64, 64, dtype=torch.bool)
    valid[0, :, 48:] = False
    return Batch([str(index) for index in range(count)], images, labels, valid)


def _released_state(module: RtcModule) -> dict[str, Tensor]:
    """The heads' tensors under the released names."""
    rules = {ours: theirs for theirs, ours in PAIRS.items()}
    state = module.state_dict()
    return {rules[name]: value for name, value in state.items() if not name.startswith("backbone.")}


PAIRS = {
    "proj1.weight": "head.project.weight",
    "classifier1.weight": "head.classify.weight",
    "f8_3.weight": "correlations.conv4.weight",
    "f8_4.weight": "correlations.conv5.weight",
    "f8_5.weight": "correlations.conv6.weight",
    "f9_1.weight": "correlations.deep.weight",
    "f9_2.weight": "correlations.shallow.weight",
    "fc8_seg_conv1.weight": "segmentation.wide1.weight",
    "fc8_seg_conv1.bias": "segmentation.wide1.bias",
    "fc8_seg_conv2.weight": "segmentation.wide2.weight",
    "fc8_seg_conv2.bias": "segmentation.wide2.bias",
    "fc8_seg_conv3.weight": "segmentation.near.weight",
    "fc8_seg_conv4.weight": "segmentation.join.weight",
    "fc8_seg_conv5.weight": "segmentation.detail.weight",
    "proj2.weight": "segmentation.project.weight",
    "classifier2.weight": "segmentation.classify.weight",
}


def _released_pass(
    state: Mapping[str, Tensor], taps: Mapping[str, Tensor], image: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the released network computes in eval mode: embedding, class maps, refined maps, segmentation scores."""

    def layer(name: str, x: Tensor, **sides: int) -> Tensor:
        return functional.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **sides)

    def enlarged(x: Tensor, size: torch.Size) -> Tensor:
        return functional.interpolate(x, size, mode="bilinear", align_corners=True)

    conv3, conv4, conv5, conv6 = (taps[name] for name in ("stage1", "stage3", "stage4", "final"))
    embedding = layer("proj1", conv6).relu()
    maps = layer("classifier1", embedding)
    given = evidence(maps).flatten(2)
    refined = torch.zeros_like(given)
    deep = layer("f9_1", torch.cat([layer("f8_4", conv5).relu(), layer("f8_5", conv6).relu()], 1))
    shallow = layer("f9_2", torch.cat([enlarged(image, maps.shape[2:]), layer("f8_3", conv4).relu()], 1))
    for features in (deep, shallow):
        unit = features.flatten(2) / (features.flatten(2).norm(dim=1, keepdim=True) + 1e-5)
        alike = (unit.transpose(1, 2) @ unit).relu()
        refined = refined + given @ (alike / (alike.sum(1, keepdim=True) + 1e-5)) / 2
    wide = layer(
        "fc8_seg_conv2", layer("fc8_seg_conv1", conv6, padding=RATE, dilation=RATE), padding=RATE, dilation=RATE
    )
    joined = layer("fc8_seg_conv4", torch.cat([wide, layer("fc8_seg_conv3", conv6, padding=1)], 1))
    fine = torch.cat([enlarged(joined, conv3.shape[2:]), layer("fc8_seg_conv5", conv3, padding=1)], 1)
    return embedding, maps, refined.view(maps.shape), layer("classifier2", layer("proj2", fine).relu())


RATE = 12
"""At stride 8."""


def test_the_network_computes_what_the_released_one_does() -> None:
    module = _module(backbone__output_stride=8).eval()
    image = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        taps = module.backbone(image)
        embedding, maps, refined, scores = _released_pass(_released_state(module), taps, image)
        ours, our_maps = module.head(taps["final"])
        torch.testing.assert_close(ours, embedding)
        torch.testing.assert_close(our_maps, maps)
        torch.testing.assert_close(module.correlations(evidence(our_maps), image, taps), refined)
        torch.testing.assert_close(module.segmentation(taps), scores)
        full = functional.interpolate(maps, (64, 48), mode="bilinear", align_corners=True)
        wanted = scores.softmax(1) * full.mean((2, 3), keepdim=True).sigmoid()
        torch.testing.assert_close(module.class_maps(image, torch.zeros(2, 3)), wanted[:, 1:])
        torch.testing.assert_close(module.image_scores(image), full.mean((2, 3)).sigmoid()[:, 1:])


def test_every_released_name_is_known_and_nothing_is_missing() -> None:
    """Names and shapes of a checkpoint on WideResNet-38, dead layers among them."""
    rtc = wsss_methods.get("rtc")
    config = override(rtc.config(), flatten(read_toml(rtc.presets()["paper"])) | {"backbone.weights": "none"})
    with torch.device("meta"):
        network = rtc.phases(config)[0].build(config, 20).state_dict()
    shapes = {
        **{"proj1": (256, 4096, 1, 1), "classifier1": (21, 256, 1, 1), "f8_3": (64, 512, 1, 1)},
        **{"f8_4": (128, 1024, 1, 1), "f8_5": (128, 4096, 1, 1), "f9_1": (128, 256, 1, 1), "f9_2": (64, 67, 1, 1)},
        **{"fc8_seg_conv1": (512, 4096, 3, 3), "fc8_seg_conv2": (256, 512, 3, 3), "fc8_seg_conv3": (256, 4096, 3, 3)},
        **{"fc8_seg_conv4": (256, 512, 1, 1), "fc8_seg_conv5": (48, 256, 3, 3), "proj2": (256, 304, 1, 1)},
        **{"classifier2": (21, 256, 1, 1)},
    }
    state = {name.removeprefix("backbone."): v for name, v in network.items() if name.startswith("backbone.")}
    state |= {f"{name}.weight": torch.empty(shape, device="meta") for name, shape in shapes.items()}
    state |= {f"fc8_seg_conv{n}.bias": torch.empty(size, device="meta") for n, size in ((1, 512), (2, 256))}
    state |= {"fc8.weight": torch.empty(4096, 4352, 1, 1, device="meta"), "_aff.aff_x.kernel": torch.empty(1)}
    release = released.get("rtc")
    result = convert(state, release, network)
    assert not result.problems
    assert result.left_out == ["_aff.aff_x.kernel", "fc8.weight"]
    assert all(name.endswith("num_batches_tracked") for name in result.fresh)
    for theirs, ours in PAIRS.items():
        assert translate(theirs, release.rules) == (True, ours)
    assert convert(state | {"fc_proj.weight": torch.empty(1)}, release, network).unexpected == ["fc_proj.weight"]


def _stretched_one_by_one(maps: Tensor, labels: Tensor) -> Tensor:
    """max_norm, resized to the second view, absent classes 0: [1 + C, h, w] -> [1 + C, 32, 32]."""
    made = []
    for number, channel in enumerate(maps):
        scores = channel.detach().clamp(min=0)
        low, high = float(scores.min()), float(scores.max())
        scores = (scores - low - 1e-5).clamp(min=0) / (high - low + 1e-5)
        small = functional.interpolate(scores[None, None], (32, 32), mode="bilinear", align_corners=True)[0, 0]
        made.append(small if number == 0 or labels[number - 1] else torch.zeros_like(small))
    return torch.stack(made)


def _winners_one_by_one(maps: Tensor) -> Tensor:
    """The background is 1 - the largest class, which keeps its value; the other classes are 0."""
    made = torch.zeros_like(maps)
    for row in range(maps.shape[1]):
        for column in range(maps.shape[2]):
            scores = maps[1:, row, column]
            made[0, row, column] = 1 - scores.max()
            for number, score in enumerate(scores):
                if score == scores.max():
                    made[1 + number, row, column] = score
    return made


def test_terms_are_put_together_as_in_the_release() -> None:
    """Prototypes of view 1's map come from view 2's embedding and the other way round; labels are swapped likewise."""
    module, batch = _module(), _batch()
    found = module.losses(batch, 0.9)
    labels, config = batch.labels, module.config.contrast
    small = functional.interpolate(batch.images, (32, 32), mode="bilinear", align_corners=True)
    full, z, low = [], [], []
    for images in (batch.images, small):
        taps = module.backbone(images)
        embedding, maps = module.head(taps["final"])
        z.append(functional.interpolate(embedding, (4, 4), mode="bilinear", align_corners=True).flatten(2))
        full.append(functional.interpolate(maps, images.shape[2:], mode="bilinear", align_corners=True))
        low.append(module.correlations(evidence(maps), images, taps))
    refined = [
        functional.interpolate(maps, images.shape[2:], mode="bilinear", align_corners=True)
        for maps, images in zip(low, (batch.images, small), strict=True)
    ]
    margin = functional.multilabel_soft_margin_loss
    wanted = {
        "classification": sum(margin(maps.mean((2, 3))[:, 1:], labels) for maps in full) / 2,
        "min_pooling": sum(min_pooling(maps, labels) for maps in refined) / 2,
    }
    grid = [functional.interpolate(maps, (4, 4), mode="bilinear", align_corners=True).flatten(2) for maps in low]
    seen1, seen2 = (contrast.find_evidence(maps, labels, 0.2) for maps in grid)
    of1 = contrast.find_prototypes(seen1, z[1], labels, config)
    of2 = contrast.find_prototypes(seen2, z[0], labels, config)

    def nce(view: Tensor, prototypes: contrast.Prototypes, by: contrast.Evidence) -> Tensor:
        return contrast.contrast(contrast.log_shares(view, prototypes, 0.1), by.labels, prototypes)

    wanted["intra"] = (nce(z[0], of1, seen1) + nce(z[1], of2, seen2)) / 2
    wanted["cross_label"] = (nce(z[0], of1, seen2) + nce(z[1], of2, seen1)) / 2
    wanted["cross_prototype"] = (nce(z[0], of2, seen1) + nce(z[1], of1, seen2)) / 2
    views = [losses.compared(maps, labels, torch.Size((32, 32))) for maps in full]
    backs = [contrast.read_back(seen1, z[1], of1), contrast.read_back(seen2, z[0], of2)]
    wanted["structure"] = sum(
        losses.structure(back.view(3, 4, 4, 4), view, labels, 0.8) for back, view in zip(backs, views, strict=True)
    )
    target = pseudo_labels(low[0], batch.images, labels, batch.valid, module.config.segmentation)
    scores = module.segmentation(module.backbone(batch.images))
    wanted["segmentation"] = losses.balanced_cross_entropy(scores, target, labels)
    one, other, one_refined, other_refined = (
        [_stretched_one_by_one(one, kinds) for one, kinds in zip(maps, labels, strict=True)]
        for maps in (*full, *refined)
    )
    wanted["equivariance"] = (torch.stack(one) - torch.stack(other))[:, 1:].abs().mean()
    wanted["cross_refinement"] = sum(
        torch.stack(
            [
                (_winners_one_by_one(maps) - low)
                .abs()
                .flatten()
                .sort(descending=True)
                .values[: 4 * 32 * 32 // 5]
                .mean()
                for maps, low in zip(given, taught, strict=True)
            ]
        ).mean()
        for given, taught in ((other, one_refined), (one, other_refined))
    )
    assert found["class_relation"] == 0, "it has no weight"
    assert wanted.keys() | {"class_relation"} == found.keys()
    for name, value in wanted.items():
        assert float(found[name].detach()) == pytest.approx(float(value.detach()), rel=1e-4), name
    assert len({round(float(found[name].detach()), 5) for name in ("intra", "cross_label", "cross_prototype")}) == 3


def test_the_batch_is_not_written_into() -> None:
    batch = _batch()
    before = batch.images.clone()
    _module().losses(batch, 0.9)
    assert torch.equal(batch.images, before)


def _reached(module: RtcModule, name: str, progress: float = 0.9) -> set[str]:
    module.zero_grad()
    term = module.losses(_batch(), progress)[name]
    if term.requires_grad:
        term.backward()
    return {name for name, p in module.named_parameters() if p.grad is not None and p.grad.any()}


@pytest.mark.parametrize("name", ["structure", "equivariance", "classification"])
def test_gradient_of_the_maps_terms_reaches_the_class_head_only(name: str) -> None:
    assert {part.split(".")[0] for part in _reached(_module(), name)} == {"head"}


def test_gradient_of_contrast_refined_maps_and_segmentation() -> None:
    module = _module()
    assert _reached(module, "intra") == {"head.project.weight"}
    assert {name.split(".")[0] for name in _reached(module, "min_pooling")} == {"correlations"}
    assert {name.split(".")[0] for name in _reached(module, "segmentation")} == {"segmentation"}
    assert not _reached(module, "class_relation")
    assert _reached(_module(loss__class_relation=0.1), "class_relation") == {"head.project.weight"}


@pytest.mark.parametrize(("progress", "starts"), [(0.0, False), (0.2499, False), (0.25, True), (0.9, True)])
def test_segmentation_starts_with_an_epoch(progress: float, starts: bool) -> None:
    """2 of 8 epochs; before, its parameters have no gradient at all, so no weight decay either."""
    module = _module(segmentation__start=2.0)
    terms = module.losses(_batch(), progress)
    assert (float(terms["segmentation"].detach()) > 0) == starts
    torch.stack(list(terms.values())).sum().backward()
    assert all((p.grad is not None) == starts for p in module.segmentation.parameters())


def test_the_start_of_every_epoch_of_the_release_is_met() -> None:
    """Epoch 7 of 25 with 1,322 steps each: the first step is in, the one before is not, whatever the rounding."""
    module = _module(segmentation__start=7.0, train__epochs=25)
    look = module._look(_batch().images)
    steps = 25 * 1322
    assert module._segments(look, 7 * 1322 / steps) is not None
    assert module._segments(look, (7 * 1322 - 1) / steps) is None


def test_a_start_after_the_end_and_a_large_second_view_are_refused() -> None:
    with pytest.raises(InputError, match=r"segmentation\.start is 8 of 8 epochs"):
        override(RtcConfig(), {"segmentation.start": 8})
    with pytest.raises(InputError, match=r"views\.small is 512"):
        override(RtcConfig(), {"views.small": 512})
    with pytest.raises(InputError, match="confident_background must not exceed"):
        override(RtcConfig(), {"segmentation.confident_background": 0.6})
    with pytest.raises(InputError, match="dilations are distances"):
        override(RtcConfig(), {"segmentation.dilations": []})


def test_the_released_values_of_traps() -> None:
    rtc = wsss_methods.get("rtc")
    paper = override(rtc.config(), flatten(read_toml(rtc.presets()["paper"])))
    assert isinstance(paper, RtcConfig)
    assert paper.train.momentum == 5e-4, "the weight decay is in SGD's momentum slot"
    assert (paper.train.epochs, paper.segmentation.start) == (25, 7)
    assert (paper.loss.class_relation, paper.contrast.members) == (0, "released")
    assert (paper.maps.gate, paper.masks.background) == ("none", 0.17)


@pytest.mark.parametrize(
    ("name", "tap"),
    [("vgg16", "stage3"), ("resnet50", "stage1"), ("efficientnet_lite0", "stage1"), ("wide_resnet38", "conv3")],
)
def test_the_detail_tap_is_at_stride_4(name: str, tap: str) -> None:
    stride = 8 if name in ("vgg16", "wide_resnet38") else 16
    with torch.device("meta"):
        backbone = build_backbone(
            BackboneConfig.model_validate({"name": name, "weights": "none", "output_stride": stride})
        )
        assert detail_tap(backbone) == tap
        size = backbone(torch.empty(1, 3, 64, 64))[tap].shape[2:]
    assert math.prod(size) == 16 * 16


@pytest.mark.parametrize(
    ("initial", "of_24", "of_4"), [("xavier", 6 / (320 + 24), 6 / (24 + 4)), ("small", 1 / 320, 1 / 24)]
)
def test_where_the_class_maps_begin(initial: str, of_24: float, of_4: float) -> None:
    torch.manual_seed(0)
    head = ClassHead(320, 24, 3, 0.0, initial)  # type: ignore[arg-type]
    for layer, squared in ((head.project, of_24), (head.classify, of_4)):
        assert 0.9 * squared**0.5 < float(layer.weight.detach().abs().max()) <= squared**0.5


@pytest.mark.parametrize(("reach", "rate"), [(96, 6), (32, 2), (8, 1), (1, 1)])
def test_how_far_the_segmentation_head_reaches(reach: int, rate: int) -> None:
    head = _module(heads__reach=reach).segmentation
    assert [layer.dilation for layer in (head.wide1, head.wide2)] == [(rate, rate)] * 2
    assert [layer.padding for layer in (head.wide1, head.wide2)] == [(rate, rate)] * 2


def test_half_precision_trains() -> None:
    module, batch = _module(), _batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = module.losses(batch, 0.9)
    whole = _module().losses(batch, 0.9)
    for name, term in terms.items():
        assert term.dtype == torch.float32, name
        assert float(term.detach()) == pytest.approx(float(whole[name].detach()), rel=0.2, abs=0.05), name
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)


def test_one_training_scores_images_without_labels(tmp_path: Path) -> None:
    """One network, no label gate, all classes in every map."""
    data = wsss.sample(train=4, val=3, size=48, score="val")
    values = {**SMALL, "train.epochs": 1, "train.batch": 2, "train.crop": 48, "maps.scales": [1.0]}
    values |= {"contrast.fraction": 0.5}
    wsss.train("rtc", data, values, until="score", name="one", storage=tmp_path, wandb="disabled", progress=False)
    record = read_record(Store(tmp_path), "one")
    assert record.protocol.label_gate is False
    assert record.protocol.segmenter == "none"
    assert record.protocol.score_list == "val"
    assert sorted(record.stages) == ["maps:rtc", "masks:rtc", "score:rtc", "train:rtc"]
    assert record.scores is not None
    stored = read_maps(maps_file(tmp_path / "stages" / "maps" / record.stages["maps:rtc"], 0))
    assert [item.classes.tolist() for item in stored] == [list(range(6))] * 3
