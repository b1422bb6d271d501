"""DRS's own parts: the refinement's loss against loops, its limits and network, and both phases in one pipeline."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import wsss_methods
from wsss_methods.drs import METHOD
from wsss_methods.drs.config import DrsConfig
from wsss_methods.drs.module import RefineModule, largest, regression
from wsss_platform.config import DataConfig, SampleConfig, flatten, override, read_toml
from wsss_platform.data.palette import mask_file, read_mask
from wsss_platform.data.sample.dataset import SampleDataset
from wsss_platform.maps.storage import MapReader, full_size
from wsss_platform.method.module import Batch
from wsss_platform.nets.heads.drs_classifier import DrsClassifier
from wsss_platform.nets.heads.suppression import Suppression
from wsss_platform.plan.experiment import Experiment
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.pipeline import run
from wsss_platform.search.effects import inner_axes, shared_stages
from wsss_platform.search.space_file import load_space
from wsss_platform.store.artefacts import Store
from wsss_platform.train.optimiser import build_optimiser, schedule_factor

CLASSES = 3


def config(**changes: Any) -> DrsConfig:
    return override(DrsConfig(), {"backbone.weights": "none", **changes})


def paper() -> DrsConfig:
    preset = flatten(read_toml(METHOD.presets()["paper"]))
    return override(DrsConfig(), {**preset, "backbone.weights": "none"})


def batch(seed: int = 0, height: int = 48, width: int = 40) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(2, CLASSES, height, width, generator=generator)
    maps[:, :, :5] = 0
    valid = torch.ones(2, height, width, dtype=torch.bool)
    valid[1, :, -9:] = False
    images = torch.randn(2, 3, height, width, generator=generator)
    return Batch(["a", "b"], images, torch.tensor([[1.0, 0, 1], [0, 1, 0]]), valid, {"classify": maps})


def by_loops(scores: Tensor, maps: Tensor, valid: Tensor) -> float:
    """Pixel by pixel: the target keeps the best class alone, every class counts, padding counts as right."""
    total = 0.0
    for b in range(scores.shape[0]):
        for y in range(scores.shape[2]):
            for x in range(scores.shape[3]):
                if not valid[b, y, x]:
                    continue
                values = maps[b, :, y, x].tolist()
                for c, value in enumerate(values):
                    target = value if value == max(values) else 0.0
                    total += (float(scores[b, c, y, x]) - target) ** 2
    return total / scores.numel()


def test_regression_is_the_loop() -> None:
    given = batch(height=9, width=7)
    scores = torch.randn(2, CLASSES, 9, 7, generator=torch.Generator().manual_seed(1))
    given.valid[0, 2:4] = False
    found = regression(scores, largest(given.extras["classify"]), given.valid)
    assert float(found) == pytest.approx(by_loops(scores, given.extras["classify"], given.valid), rel=1e-5)


def test_without_padding_it_is_torchs_mean_squared_error() -> None:
    scores, target = torch.randn(2, 3, 8, 6), torch.rand(2, 3, 8, 6)
    everywhere = torch.ones(2, 8, 6, dtype=torch.bool)
    torch.testing.assert_close(regression(scores, target, everywhere), nn.functional.mse_loss(scores, target))


def test_largest_keeps_one_class_and_all_of_equals() -> None:
    maps = torch.tensor([[0.2, 0.7], [0.5, 0.7], [0.4, 0.1]]).reshape(1, 3, 1, 2)
    wanted = torch.tensor([[0.0, 0.7], [0.5, 0.7], [0.0, 0.0]]).reshape(1, 3, 1, 2)
    assert torch.equal(largest(maps), wanted)
    assert not largest(torch.zeros(1, 3, 2, 2)).any()
    assert torch.equal(largest(maps[:, :1]), maps[:, :1])


def test_limits_of_the_regression() -> None:
    scores = torch.randn(1, 2, 4, 4, requires_grad=True)
    nowhere = torch.zeros(1, 4, 4, dtype=torch.bool)
    nothing = regression(scores, torch.rand(1, 2, 4, 4), nowhere)
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert scores.grad is not None
    assert not scores.grad.any()
    everywhere = ~nowhere
    target = torch.rand(1, 2, 4, 4)
    assert float(regression(target, target, everywhere)) == 0


def test_two_workers_shares_make_up_the_batch() -> None:
    scores, target = torch.randn(4, 2, 5, 5), torch.rand(4, 2, 5, 5)
    valid = torch.rand(4, 5, 5) < torch.tensor([0.9, 0.1, 0.5, 0.7]).reshape(4, 1, 1)
    halves = [regression(scores[part], target[part], valid[part]) for part in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close((halves[0] + halves[1]) / 2, regression(scores, target, valid))


def test_absent_classes_are_pulled_to_nothing() -> None:
    """The loss is over all classes, not only those in the image."""
    scores = torch.full((1, 2, 2, 2), 0.5, requires_grad=True)
    target = torch.zeros(1, 2, 2, 2)
    target[:, 0] = 0.5
    regression(scores, target, torch.ones(1, 2, 2, dtype=torch.bool)).backward()
    assert scores.grad is not None
    assert not scores.grad[:, 0].any()
    assert (scores.grad[:, 1] > 0).all()


def test_the_network_gives_maps_of_the_images_size_to_the_loss() -> None:
    torch.manual_seed(0)
    training_module, given = RefineModule(config(), CLASSES).eval(), batch()
    found = float(training_module.losses(given, 0.0)["regression"].detach())
    scores = training_module.class_maps(given.images, given.labels).detach()
    assert scores.shape == (2, CLASSES, 3, 3)
    large = nn.functional.interpolate(scores, (48, 40), mode="bilinear", align_corners=False)
    assert found == pytest.approx(by_loops(large, given.extras["classify"], given.valid), rel=1e-4)


def test_the_refinement_network_is_the_classifiers_layout_without_suppression() -> None:
    """VGG-16 with three extra convolutions, N(0, 0.01), no suppression whatever the classifier's control is."""
    values = paper()
    refine = RefineModule(values, 20)
    assert not any(isinstance(module, Suppression) for module in refine.modules())
    assert sum(p.numel() for p in refine.parameters()) == 14_714_688 + 3 * (512 * 512 * 9 + 512) + 512 * 20 + 20
    extra = [module for module in refine.tail if isinstance(module, nn.Conv2d)]
    assert [float(module.weight.detach().std()) for module in extra] == pytest.approx([0.01] * 3, rel=0.02)
    classify = METHOD.phases(values)[0].build(values, 20)
    assert isinstance(classify, DrsClassifier)
    assert sum(isinstance(module, Suppression) for module in classify.modules()) == 16
    assert sum(p.numel() for p in classify.parameters()) - sum(p.numel() for p in refine.parameters()) == 2_596_864


def test_released_rates_and_schedules() -> None:
    values = paper()
    classify, refine = (phase.build(values, 20) for phase in METHOD.phases(values))
    optimiser = build_optimiser(classify, values.train)
    rates = {group["name"]: group["lr"] for group in optimiser.param_groups}
    wanted = {"pretrained": 1e-3, "pretrained_biases": 2e-3, "new": 1e-2, "new_biases": 2e-2}
    assert rates == pytest.approx(wanted)
    assert {group["weight_decay"] for group in optimiser.param_groups} == {5e-4}
    assert {(group["momentum"], group["nesterov"]) for group in optimiser.param_groups} == {(0.9, True)}
    control = next(module for module in classify.backbone.modules() if isinstance(module, Suppression)).control
    assert control is not None
    new = next(group for group in optimiser.param_groups if group["name"] == "new")
    assert any(parameter is control.weight for parameter in new["params"])  # W, though it stands in the backbone
    one = build_optimiser(refine, values.refine.train)
    assert {group["lr"] for group in one.param_groups} == {1e-4}
    assert {group["weight_decay"] for group in one.param_groups} == {0.0}
    for train, drops in ((values.train, (5, 10)), (values.refine.train, (10, 20))):
        factors = [schedule_factor(train, epoch - 1, train.epochs) for epoch in range(1, train.epochs + 1)]
        assert [epoch for epoch in range(2, train.epochs + 1) if factors[epoch - 1] < factors[epoch - 2]] == [*drops]
        assert factors[-1] == pytest.approx(0.01)


def test_the_method_may_stop_after_the_classifier() -> None:
    assert [phase.name for phase in METHOD.phases(config())] == ["classify", "refine"]
    alone = METHOD.phases(config(**{"refine.enabled": False}))
    assert [phase.name for phase in alone] == ["classify"]
    assert alone[0] == METHOD.phases(config())[0]


def test_the_space_of_the_label_rule_repeats_the_masks_alone(pytestconfig: pytest.Config) -> None:
    path = pytestconfig.rootpath / "search_spaces" / "drs_saliency.toml"
    for values in (paper(), config(**{"masks.rule": "saliency"})):
        space = load_space(path, values)
        assert [axis.path for axis in space.axes] == [
            "masks.saliency_floor",
            "masks.saliency_cut",
            "masks.conflict_level",
        ]
        assert inner_axes(Experiment(METHOD, values, DataConfig()), space) == space.axes


def test_the_space_of_the_classifier_alone_needs_no_second_phase(pytestconfig: pytest.Config) -> None:
    alone = config(**{"refine.enabled": False, "suppression.control": "constant"})
    space = load_space(pytestconfig.rootpath / "search_spaces" / "drs_classify.toml", alone)
    assert not [axis.path for axis in space.axes if axis.path.startswith("refine")]
    assert shared_stages(Experiment(METHOD, alone, DataConfig()), space) == ()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, Store, dict[str, Any]]:
    """Both phases on eight small images from random weights, with the label rule that reads saliency."""
    short = {"epochs": 2, "batch": 4, "crop": 48, "resize_range": [1.0, 1.0]}
    changes = {f"{section}.{name}": value for section in ("train", "refine.train") for name, value in short.items()}
    sizes = {"maps.sizes": [32, 64], "refine.maps.sizes": [32, 64], "masks.rule": "saliency"}
    data = DataConfig(sample=SampleConfig(train=8, val=2, size=56))
    experiment = Experiment(METHOD, config(**changes, **sizes), data)
    store = Store(tmp_path_factory.mktemp("store"))
    threads = torch.get_num_threads()
    outcome = run(experiment, store, LocalRunner(1))
    torch.set_num_threads(threads)
    assert outcome.score is not None
    return experiment, store, outcome.score


def test_the_pipeline_runs_both_phases(finished: tuple[Experiment, Store, dict[str, Any]]) -> None:
    experiment, store, score = finished
    names = [stage.name for stage in experiment.stages]
    assert names == [
        "train:classify",
        "maps:classify",
        "train:refine",
        "maps:refine",
        "masks:refine",
        "score:refine",
    ]
    assert 0 < score["mean_iou"] < 1
    for stage, term in (("classify", "classification"), ("refine", "regression")):
        key = experiment.stage("train", stage).key
        lines = (store.open("train", key).folder / "metrics.jsonl").read_text().splitlines()
        losses = [json.loads(line)["losses"][term] for line in lines]
        assert len(losses) == 2
        assert losses[1] < losses[0]


def test_stored_masks_are_the_rule_on_stored_maps(finished: tuple[Experiment, Store, dict[str, Any]]) -> None:
    experiment, store, _ = finished
    masks = store.open("masks", experiment.stage("masks").key).folder
    maps = MapReader(store.open("maps", experiment.stage("maps", "refine").key).folder)
    split = SampleDataset(experiment.data.sample).split("train")
    for id in split.ids:
        mask, shown = read_mask(mask_file(masks, id)), split.saliency(id) > 50
        strong = (full_size(maps[id]) >= np.float32(0.2)).any(0)
        assert (mask[~shown & (mask != 255)] == 0).all()
        assert (mask[shown & ~strong] == 255).all()
        assert ((mask[shown & strong] > 0) | (mask[shown & strong] == 255)).all()


def test_initial_values_are_a_field_of_the_training() -> None:
    method = wsss_methods.get("drs")
    default = override(method.config(), {"backbone.weights": "none"})
    small = override(default, {"initial": "small"})
    keys = [Experiment(method, values, DataConfig()).stages[0].key for values in (default, small)]
    assert keys[0] != keys[1]
    for values, deviation in ((default, (2 / CLASSES) ** 0.5), (small, 0.01)):
        torch.manual_seed(0)
        training_module = method.phases(values)[0].build(values, CLASSES)
        assert isinstance(training_module, DrsClassifier)
        assert float(training_module.classifier.weight.detach().std()) == pytest.approx(deviation, rel=0.1)
