"""What every method must do, on tiny images with random weights: the suite that is shipped, for our own methods.

Each has small settings and variants here; everything else stays at its default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import wsss_methods
from wsss_platform.testing import method_tests
from wsss_platform.testing.method_checks import MethodTests

SPACES = Path(__file__).parents[2] / "search_spaces"


def shipped(name: str, **settings: Any) -> type[MethodTests]:
    return method_tests(wsss_methods.get(name), space=SPACES / f"{name}.toml", **settings)


FBR: dict[str, Any] = {"heads.projection": 16, "sampling.bank_size": 64, "sampling.negatives": 16}
AS_RELEASED: dict[str, Any] = {"sampling.variant": "as_released"}

TestCam = shipped("cam")
TestDrs = shipped(
    "drs",
    small={"extra_layers": 1},
    variants=[
        {},
        {"suppression.control": "constant"},
        {"suppression.placement": "stage4", "refine.enabled": False},
    ],
)
TestFbr = shipped("fbr", small={**FBR, "heads.dilations": [1, 2]}, variants=[{}, AS_RELEASED])
TestFbrCam = shipped("fbr_cam", small=FBR, variants=[{}, AS_RELEASED])
TestFbrS = shipped("fbr_s", small={**FBR, "host.small": 48}, variants=[{}, AS_RELEASED])
TestRcmMam = shipped(
    "rcm_mam",
    # No warm-up, so that every term counts from the start. SupportNet then is MainNet's untrained self, from which its
    # two terms can only grow; with small weights the total still falls.
    small={
        "heads.features": 64,
        "support.warm_up": 0,
        "support.ramp": 0,
        "support.ema": 0.5,
        "loss.regional_contrast": 0.01,
        "loss.attentive": 0.05,
    },
    variants=[
        {},
        {"support.update": "frozen", "heads.projection": 8, "regions.pool": "image", "attention.target": "mean"},
        {"support.update": "epoch_copy", "heads.features": 0, "attention.main_scales": "all"},
    ],
)
TestRtc = shipped(
    "rtc",
    # The segmentation head from the start, so that every term counts; two rounds of refinement, so that small squares
    # stay. Random weights follow maps that jump, so what is taught by maps weighs less, or the total rises and falls.
    small={
        "heads.embedding": 128,
        "heads.widths": [32, 16, 8],
        "views.small": 48,
        "segmentation.start": 0,
        "segmentation.iterations": 2,
        "segmentation.dilations": [1, 2],
        "loss.cross_refinement": 0.1,
        "loss.segmentation": 0.2,
    },
    variants=[{}, {"contrast.members": "labelled", "loss.class_relation": 0.1}],
)


def test_every_method_of_the_catalogue_is_tested() -> None:
    classes = [value for name, value in globals().items() if name.startswith("Test")]
    assert sorted(each.tested.method.name for each in classes) == sorted(wsss_methods.names())


def test_every_method_has_presets_for_the_paper_and_for_the_sample() -> None:
    for name in wsss_methods.names():
        assert {"paper", "sample"} <= set(wsss_methods.get(name).presets()), name
