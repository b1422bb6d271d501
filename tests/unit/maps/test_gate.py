"""Maps without image labels: which classes are kept, that no label is seen, and what the protocol says."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import wsss_methods
from wsss_platform.config import DataConfig, MapsConfig, SampleConfig, fingerprint, override
from wsss_platform.data.split import Sample
from wsss_platform.errors import InputError
from wsss_platform.maps.extract import Extractor
from wsss_platform.maps.storage import full_size
from wsss_platform.masks.make import make_mask
from wsss_platform.method.module import TrainingModule
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.protocol import protocol

C = 4
SCORES = (0.9, 0.5, 0.51, 0.1)


class Sure(TrainingModule):
    """Says of every image that class c is there with `SCORES[c]`, everywhere with 1 - c / 10."""

    map_stride: ClassVar[int] = 4

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(1, 1)
        self.seen: list[list[list[float]]] = []
        self.sizes: list[tuple[int, ...]] = []

    def class_maps(self, images: Tensor, labels: Tensor) -> Tensor:
        self.seen.append(labels.tolist())
        maps = 1 - torch.arange(C) / 10
        return maps.view(1, C, 1, 1).expand(len(images), C, images.shape[2] // 4, images.shape[3] // 4)

    def image_scores(self, images: Tensor) -> Tensor:
        self.sizes.append(tuple(images.shape))
        return torch.tensor([SCORES])


def _sample(labels: list[bool]) -> Sample:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    return Sample("image", image, np.array(labels))


def _extract(labels: list[bool], module: TrainingModule, **changes: Any) -> Any:
    config = MapsConfig(scales=(1.0,), fuse="mean", activation="none", normalise="none", **changes)
    return Extractor(module, config, 32)(_sample(labels))


def test_each_gate_keeps_its_classes() -> None:
    labels = [False, True, False, True]
    assert _extract(labels, Sure()).classes.tolist() == [1, 3]
    assert _extract(labels, Sure(), gate="none").classes.tolist() == [0, 1, 2, 3]
    assert _extract(labels, Sure(), gate="predicted").classes.tolist() == [0, 2]
    assert _extract(labels, Sure(), gate="predicted", gate_threshold=0.05).classes.tolist() == [0, 1, 2, 3]
    nobody = _extract(labels, Sure(), gate="predicted", gate_threshold=0.95)
    assert nobody.classes.tolist() == []
    assert nobody.scores.shape == (0, 14, 19)


@pytest.mark.parametrize(("gate", "given"), [("none", [1.0] * C), ("predicted", [1.0, 0, 1, 0])])
def test_labels_are_not_seen(gate: str, given: list[float]) -> None:
    found = []
    for labels in ([True, False, False, False], [False] * C):
        module = Sure()
        found.append(_extract(labels, module, gate=gate))
        assert all(row == given for call in module.seen for row in call)
        assert module.sizes in ([], [(1, 3, 64, 64)]), "64 x 80 padded, to the nearest multiples of the stride"
    assert np.array_equal(found[0].scores, found[1].scores)
    assert np.array_equal(found[0].classes, found[1].classes)


def test_masks_come_from_all_classes() -> None:
    stored = _extract([False] * C, Sure(), gate="none")
    np.testing.assert_allclose(full_size(stored)[:, 25, 35], [1, 0.9, 0.8, 0.7], atol=1 / 255)
    masks = override(wsss_methods.get("rtc").config(), {}).masks
    assert (make_mask(stored, None, masks) == 1).all()


def test_a_network_without_image_scores_says_so() -> None:
    class Unsure(Sure):
        image_scores = TrainingModule.image_scores

    with pytest.raises(InputError, match=r"maps\.gate 'predicted' needs image scores, and Unsure gives none"):
        _extract([True] * C, Unsure(), gate="predicted")


@pytest.mark.parametrize(("gate", "limited"), [("labels", True), ("predicted", False), ("none", False)])
def test_the_protocol_follows_the_gate(gate: str, limited: bool) -> None:
    cam = wsss_methods.get("cam")
    data = DataConfig(score_list="val", sample=SampleConfig(train=2, val=2, size=48))
    config = override(cam.config(), {"maps.gate": gate, "backbone.weights": "none"})
    found = Experiment(cam, config, data)
    assert protocol(found).label_gate is limited
    plain = Experiment(cam, override(cam.config(), {"backbone.weights": "none"}), data)
    assert found.stage("train").key == plain.stage("train").key
    assert (found.stage("maps").key == plain.stage("maps").key) is limited


def test_the_default_leaves_stored_keys() -> None:
    assert fingerprint(MapsConfig()) == fingerprint(MapsConfig(gate="labels", gate_threshold=0.5))
    assert fingerprint(MapsConfig()) != fingerprint(MapsConfig(gate="none"))
