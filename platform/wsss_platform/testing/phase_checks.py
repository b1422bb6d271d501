"""What is checked of every phase, on tiny images with random weights. Needs pytest."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
import torch

from wsss_platform.config import TrainConfig, look_up
from wsss_platform.data.split import Sample
from wsss_platform.maps.extract import Extractor
from wsss_platform.maps.storage import StoredMap
from wsss_platform.method.module import Batch, TrainingModule
from wsss_platform.nets.heads.cam_classifier import CamClassifier
from wsss_platform.testing.batches import LIMITS
from wsss_platform.testing.cases import CLASSES, Case, Tested

SLOW = ("test_two_seeded_runs_are_bit_equal", "test_loss_falls_on_one_batch")
"""Marked `slow` where there is such a marker."""
SIZES = ((64, 64), (16, 16), (96, 32), (61, 47))
"""Height and width of images, also odd ones."""
_CAM = [name for name in dir(TrainingModule) if not name.startswith("__") and callable(getattr(TrainingModule, name))]
"""What a module that is plain CAM takes over from the classifier as it is."""


class PhaseChecks:
    """A test with an argument `case` runs for every phase under every variant, one with `plain` for every phase."""

    tested: ClassVar[Tested]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Called by pytest for each test."""
        slow = metafunc.function.__name__ in SLOW and _has_marker(metafunc.config, "slow")
        marks = [pytest.mark.slow] if slow else []
        for name, cases in (("case", self.tested.cases), ("plain", self.tested.plain_cases)):
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, [pytest.param(case, id=case.id, marks=marks) for case in cases])

    def test_loss_terms_are_the_loss_fields_and_finite(self, case: Case) -> None:
        terms, weights = case.build().losses(case.batch(), 0.0), case.weights
        without, idle = sorted(set(terms) - set(weights)), sorted(set(weights) - set(terms))
        assert not without, f"{case}: losses() gives {without}, which {case.phase.loss} has no weight for"
        assert not idle, f"{case}: {case.phase.loss} has weights for {idle}, which losses() does not give"
        for name, term in terms.items():
            assert term.shape == (), f"{case}: term {name!r} is no scalar"
            assert torch.isfinite(term), f"{case}: term {name!r} is {term.item()}"
            if weights[name]:
                assert term.detach() > 0, f"{case}: term {name!r} is idle on a batch that has everything"

    def test_gradient_reaches_every_trainable_parameter(self, case: Case) -> None:
        module = case.build()
        for seed in range(2):
            case.total(module, case.batch(seed=seed)).backward()  # type: ignore[no-untyped-call]
        idle = [
            name
            for name, parameter in module.named_parameters()
            if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
        ]
        undeclared = [name for name in idle if not any(name.startswith(way) for way in self.tested.without_gradient)]
        assert not undeclared, f"{case}: no gradient reaches {', '.join(undeclared)}"

    def test_parameter_groups_hold_every_trainable_parameter_once(self, case: Case) -> None:
        module = case.build()
        grouped = [id(p) for group in module.param_groups(case.train) for p in group["params"]]
        trainable = {id(p): name for name, p in module.named_parameters() if p.requires_grad}
        missing = [name for key, name in trainable.items() if key not in grouped]
        assert not missing, f"{case}: param_groups() leaves out {missing}"
        assert sorted(grouped) == sorted(trainable), f"{case}: param_groups() has a parameter twice, or a frozen one"

    def test_two_seeded_runs_are_bit_equal(self, case: Case) -> None:
        first, second = case.build(), case.build()
        assert case.steps(first, 3) == case.steps(second, 3), f"{case}: the same seed gives other losses"
        for (name, one), other in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
            assert torch.equal(one, other), f"{case}: the same seed gives another {name}"

    def test_restored_in_the_middle_it_goes_on_with_the_same_losses(self, plain: Case) -> None:
        first = plain.build()
        optimiser = plain.optimiser(first)
        plain.steps(first, 2, optimiser)
        state = {name: value.clone() for name, value in first.state_dict().items()}
        moments = copy.deepcopy(optimiser.state_dict())

        second = plain.build(seed=99)
        second.load_state_dict(state)
        resumed = plain.optimiser(second)
        resumed.load_state_dict(moments)
        restored, expected = plain.steps(second, 3, resumed), plain.steps(first, 3, optimiser)
        assert restored == expected, f"{plain}: some state is neither a buffer nor in a submodule"

    def test_a_phase_that_says_it_is_plain_cam_is(self, plain: Case) -> None:
        if not plain.phase.plain_cam:
            return
        module = plain.build()
        assert isinstance(module, CamClassifier), f"{plain}: plain_cam, but its module is no CamClassifier"
        own = sorted(name for name in _CAM if getattr(type(module), name) is not getattr(CamClassifier, name))
        assert not own, f"{plain}: plain_cam, but its module has its own {', '.join(own)}()"
        cam = CamClassifier(plain.config.backbone, CLASSES)
        assert module.state_dict().keys() == cam.state_dict().keys(), f"{plain}: plain_cam, but not the layers of it"
        terms = sorted(cam.losses(plain.batch(), 0.0))
        assert sorted(plain.weights) == terms, f"{plain}: plain_cam, but {plain.phase.loss} has not the fields {terms}"
        fields = type(plain.train).model_fields.keys()
        assert fields == TrainConfig.model_fields.keys(), (
            f"{plain}: plain_cam, but the fields of {plain.phase.train} are others"
        )
        prefix = plain.phase.train.removesuffix("train")
        read = sorted(path.removeprefix(prefix) for path in plain.phase.sections)
        expected = ["backbone", "loss", "train"]
        assert read == expected, f"{plain}: plain_cam, but its sections are {read}, not {expected}"

    def test_a_phase_says_whether_it_scores_images(self, plain: Case) -> None:
        module = plain.build()
        scores = type(module).image_scores is not TrainingModule.image_scores
        assert plain.phase.image_scores is scores, f"{plain}: Phase.image_scores should be {scores}"
        if scores:
            found = module.eval().image_scores(torch.randn(2, 3, 64, 48))
            assert found.shape == (2, CLASSES), f"{plain}: image_scores() are not one a class"
            assert found.ge(0).all(), f"{plain}: image_scores() below 0"
            assert found.le(1).all(), f"{plain}: image_scores() above 1"

    @pytest.mark.parametrize(("height", "width"), SIZES, ids=str)
    def test_class_maps_have_the_declared_shape(self, case: Case, height: int, width: int) -> None:
        _skip_refining(case)
        module = case.build().eval()
        stride = module.map_stride or case.config.backbone.output_stride
        with torch.inference_mode():
            maps = module.class_maps(torch.randn(2, 3, height, width), torch.ones(2, CLASSES))
        channels = CLASSES + (1 if module.background_channel else 0)
        expected = (2, channels, -(-height // stride), -(-width // stride))
        assert maps.shape == expected, f"{case}: class_maps() of {height} x {width} pixels at stride {stride}"
        assert torch.isfinite(maps).all(), f"{case}: class_maps() of {height} x {width} pixels are not finite"

    def test_class_maps_do_not_depend_on_chance_or_change_state(self, case: Case) -> None:
        _skip_refining(case)
        module = case.build()
        case.steps(module, 1)
        module.eval()
        before = {name: value.clone() for name, value in module.state_dict().items()}
        images, labels = torch.randn(1, 3, 64, 64), torch.ones(1, CLASSES)
        with torch.inference_mode():
            first, second = module.class_maps(images, labels), module.class_maps(images, labels)
        assert torch.equal(first, second), f"{case}: class_maps() differ from call to call in eval()"
        for name, value in module.state_dict().items():
            assert torch.equal(value, before[name]), f"{case}: class_maps() changes {name}"

    def test_refined_maps_lie_on_the_grid_of_the_stored_ones(self, plain: Case) -> None:
        if plain.phase.refines:
            module, scores = plain.build().eval(), torch.rand(2, 16, 12)
            with torch.inference_mode():
                refined = module.refine(torch.randn(1, 3, 64, 48), scores, 61, 47)
            assert refined.shape == scores.shape, f"{plain}: refine() of maps of 16 x 12 positions"
            assert torch.isfinite(refined).all(), f"{plain}: refine() is not finite"

    @pytest.mark.parametrize("limit", LIMITS)
    def test_limits_give_finite_losses_and_gradients(self, case: Case, limit: Callable[[Batch], Batch]) -> None:
        module = case.build()
        for _ in range(2):
            total = case.total(module, limit(case.batch()))
            assert torch.isfinite(total), f"{case}: the loss is {total.item()} with {limit.__name__}"
            total.backward()  # type: ignore[no-untyped-call]
        broken = [name for name, p in module.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
        assert not broken, f"{case}: gradients of {broken} are not finite with {limit.__name__}"

    def test_odd_sizes_train(self, case: Case) -> None:
        total = case.total(case.build(), case.batch(2, 61, 47))
        assert torch.isfinite(total), f"{case}: the loss of 61 x 47 pixels is {total.item()}"

    def test_loss_falls_on_one_batch(self, case: Case) -> None:
        module, batch = case.build(), case.batch()
        optimiser = torch.optim.AdamW(module.parameters(), lr=1e-3)
        losses = []
        for _ in range(12):
            total = case.total(module, batch)
            optimiser.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(float(total.detach()))
        assert sum(losses[-3:]) < 0.9 * sum(losses[:3]), f"{case}: the loss of one batch does not fall: {losses}"

    def test_absent_classes_are_not_in_the_extracted_maps(self, case: Case) -> None:
        _skip_refining(case)
        changes = {"gate": "labels", "store": "grid", "precision": "uint11"}
        section = look_up(case.config, case.phase.maps).model_copy(update=changes)
        extractor = Extractor(case.build(), section, case.config.backbone.output_stride)
        image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
        stored = extractor(Sample("image", image, np.array([True, False, True, False])))
        assert isinstance(stored, StoredMap)
        assert stored.classes.tolist() == [0, 2], f"{case}: maps of other classes than the image's"
        assert stored.scores.shape[0] == 2, f"{case}: not one map a class"

    def test_applied_values_are_the_configured_ones(self, case: Case) -> None:
        for path, value in case.build().applied().items():
            assert look_up(case.config, path) == value, f"{case}: applied() says {path} is {value!r}"


def _skip_refining(case: Case) -> None:
    if case.phase.refines:
        pytest.skip(f"{case}: makes its maps out of stored ones")


def _has_marker(config: pytest.Config, name: str) -> bool:
    """Whether a project registers a marker; using another one is an error or a warning there."""
    return any(line.split(":")[0].split("(")[0].strip() == name for line in config.getini("markers"))
