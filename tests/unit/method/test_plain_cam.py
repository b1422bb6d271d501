"""Phases that say that they are plain CAM share one training, so what they say is checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from torch import Tensor, nn

import wsss_methods
from wsss_methods.cam.module import CamModule
from wsss_platform.config import Section, TrainConfig
from wsss_platform.method import PLAIN_CAM, Phase
from wsss_platform.method.module import Batch
from wsss_platform.testing.cases import Case
from wsss_platform.testing.phase_checks import PhaseChecks

CAM, FBR = wsss_methods.get("cam"), wsss_methods.get("fbr")


def case(of: Any = CAM, config: Any = None, **changes: Any) -> Case:
    """The first phase of a method, changed."""
    config = config or of.config.model_validate({"backbone": {"weights": "none"}})
    phase: Phase = of.phases(config)[0]
    return Case(of, config, replace(phase, **changes), {})


def check(tested: Case) -> None:
    PhaseChecks().test_a_phase_that_says_it_is_plain_cam_is(tested)


def test_the_keys_of_plain_cam_say_the_revision_of_cam() -> None:
    (phase,) = CAM.phases(CAM.config())
    assert phase.plain_cam
    assert (CAM.name, CAM.revision, phase.name) == PLAIN_CAM


def test_those_that_are_pass() -> None:
    check(case())
    check(case(FBR))
    config = FBR.config.model_validate({"backbone": {"weights": "none"}})
    check(Case(FBR, config, FBR.phases(config)[1], {}))  # does not say it


class OtherLoss(CamModule):
    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        return super().losses(batch, progress)


class MoreLayers(CamModule):
    def __init__(self, config: Any, classes: int) -> None:
        super().__init__(config, classes)
        self.more = nn.Linear(2, 2)


class Weights(Section):
    classification: float = 1.0
    more: float = 1.0


class MoreTraining(TrainConfig):
    more: float = 1.0


class WithMoreWeights(CAM.config):  # type: ignore[name-defined, misc]
    loss: Weights = Weights()


class WithMoreTraining(CAM.config):  # type: ignore[name-defined, misc]
    train: MoreTraining = MoreTraining()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"module": FBR.phases(FBR.config())[1].module, "of": FBR}, "its module is no CamClassifier"),
        ({"module": OtherLoss}, "its module has its own losses"),
        ({"module": MoreLayers}, "not the layers of it"),
        ({"sections": ("backbone", "train", "loss", "maps")}, "its sections are"),
        ({"config": WithMoreWeights(backbone={"weights": "none"})}, r"loss has not the fields \['classification'\]"),
        ({"config": WithMoreTraining(backbone={"weights": "none"})}, "the fields of train are others"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_those_that_are_not_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AssertionError, match=f"plain_cam, but .*{said}"):
        check(case(**changes))
