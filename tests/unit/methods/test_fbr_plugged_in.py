"""FBR on the host of another method: the host is untouched, the terms are FBR's, the traps are decided as on PPC."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import wsss_methods
from wsss_methods.fbr.config import MapSamplingConfig
from wsss_methods.fbr.contrast import Contrast, Terms
from wsss_methods.fbr.sampling import Regions
from wsss_platform.config import override
from wsss_platform.method.module import Batch, TrainingModule
from wsss_platform.nets.heads.cam_classifier import CamClassifier

METHOD = wsss_methods.get("fbr_cam")
SMALL = {"backbone.weights": "none", "heads.projection": 8, "sampling.bank_size": 50, "sampling.negatives": 12}


def _config(**changes: Any) -> Any:
    return override(METHOD.config(), {**SMALL, **changes})


def _module(**changes: Any) -> Any:
    config = _config(**changes)
    torch.manual_seed(0)
    return METHOD.phases(config)[-1].build(config, 3).train()


def _batch(count: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(count, 3, 64, 64, generator=generator)
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0]])[:count]
    valid = torch.ones(count, 64, 64, dtype=torch.bool)
    return Batch([str(index) for index in range(count)], images, labels, valid)


def test_maps_and_classification_are_the_hosts() -> None:
    module, host, batch = _module(), CamClassifier(_config().backbone, 3), _batch()
    state = {key: value for key, value in module.state_dict().items() if not key.startswith("contrast.")}
    host.load_state_dict(state)  # strictly: nothing of the host was renamed or added to
    assert torch.equal(module.class_maps(batch.images, batch.labels), host.class_maps(batch.images, batch.labels))
    term = module.losses(batch, 0.0)["classification"]
    torch.testing.assert_close(term, host.losses(batch, 0.0)["classification"])
    rates = [{group["name"]: group["lr"] for group in one.param_groups(_config().train)} for one in (host, module)]
    assert rates[0].items() <= rates[1].items()


def _gradient(module: TrainingModule, term: str) -> set[str]:
    loss = module.losses(_batch(), 0.0)[term]
    if not loss.requires_grad:
        return set()
    named = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name for name, gradient in zip(named, gradients, strict=True) if gradient is not None and gradient.any()}


def test_the_contrast_trains_the_hosts_features_but_not_its_classifier() -> None:
    """Trap 2; pseudo labels, prototypes and negatives have no gradient."""
    released = {"sampling.variant": "as_released"}
    for term, variant in (("intra_foreground", {}), ("negative_regions", {}), ("intra_foreground", released)):
        trained = _gradient(_module(**variant), term)
        assert "contrast.project_foreground.weight" in trained
        assert any(part.startswith("backbone.") for part in trained)
        assert not any(part.startswith(("classifier", "contrast.project_background")) for part in trained)
    assert _gradient(_module(**released), "negative_regions") == set()


def test_limits() -> None:
    """One class only, no class, nothing but padding, an empty bank, a full bank, more clusters than positions."""
    changes: dict[str, Any]
    for labels, valid, changes in (
        ([0.0, 1, 0], True, {}),
        ([0.0, 0, 0], True, {}),
        ([1.0, 1, 0], False, {}),
        ([1.0, 1, 0], True, {"sampling.bank_size": 3}),
        ([1.0, 1, 0], True, {"sampling.clusters": 200, "sampling.prototype_fraction": 1.0}),
    ):
        module, batch = _module(**changes), _batch()
        batch.labels[:] = torch.tensor(labels)
        batch.valid[:] = valid
        for _ in range(2):
            terms = module.losses(batch, 0.0)
        assert all(torch.isfinite(term) for term in terms.values())
        torch.stack(list(terms.values())).sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)
        if sum(labels) < 2 or not valid:
            assert float(terms["intra_foreground"].detach()) == 0
        assert (int(module.contrast.bank().filled) > 0) == valid
    quiet = _module().eval()
    assert float(quiet.losses(_batch(), 0.0)["negative_regions"].detach()) == 0
    assert int(quiet.contrast.bank().filled) == 0


def _regions() -> Regions:
    """One image of ten positions: four of class 0, of which two are hard, three of class 1, three background."""
    pseudo = torch.tensor([[1, 1, 1, 1, 2, 2, 2, 0, 0, 0]])
    activation = torch.zeros(1, 2, 10)
    activation[0, 0, :4] = torch.tensor([0.9, 0.8, 0.3, 0.2])
    activation[0, 1, 4:7] = torch.tensor([0.9, 0.5, 0.4])
    hard = torch.zeros(1, 10, dtype=torch.bool)
    hard[0, 2:4] = True
    return Regions(pseudo, activation, hard)


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(one @ other) / (float(one.norm()) * float(other.norm()))


@pytest.mark.parametrize("variant", ["paper", "as_released"])
def test_both_terms_are_the_definitions_where_chance_has_no_part(variant: str) -> None:
    """Every pixel of the other class is one vector, and the bank holds one vector: all draws give the same."""
    sampling = MapSamplingConfig.model_validate(
        {"variant": variant, "negatives": 7, "bank_size": 1, "prototype_fraction": 0.2}
    )
    torch.manual_seed(0)
    contrast = Contrast(4, 6, sampling).train()
    foreground, background = torch.rand(1, 6, 10), torch.rand(1, 6, 10)
    foreground[0, :, 4:7] = foreground[0, :, 4:5]
    terms: Terms = contrast(_regions(), foreground, background)
    prototype = (0.9 * foreground[0, :, 0] + 0.8 * foreground[0, :, 1]) / 1.7
    torch.testing.assert_close(terms.prototypes[0], prototype)
    stored = contrast.bank().contents()[0]
    intra, regions = [], []
    for n in (2, 3):
        z = foreground[0, :, n]
        up = math.exp(_cosine(z, prototype) / 0.5)
        intra.append(-math.log(up / (up + 7 * math.exp(_cosine(z, foreground[0, :, 4]) / 0.5))))
        if variant == "paper":
            regions.append(-math.log(up / (up + 7 * math.exp(_cosine(z, stored) / 0.5))))
        else:  # trap 1: along the keys, one number for each of the six channels, of which the first is "right"
            keys = torch.stack([prototype, *[stored] * 7])
            scores = [_cosine(z[d].repeat(8), keys[:, d]) / 0.5 for d in range(6)]
            regions.append(-math.log(math.exp(scores[0]) / sum(math.exp(score) for score in scores)))
    # Two classes are present; the second has no anchor and counts 0.
    assert float(terms.intra_foreground) == pytest.approx(sum(intra) / 2 / 2, rel=1e-4)
    assert float(terms.negative_regions) == pytest.approx(sum(regions) / 2 / 2, rel=1e-4)


def test_a_restored_module_draws_on_as_if_it_had_not_stopped() -> None:
    """Trap 9: the release keeps its bank outside the network and loses it."""
    torch.manual_seed(0)
    first, second = (Contrast(4, 6, MapSamplingConfig(negatives=5, bank_size=40)).train() for _ in range(2))
    spaces = torch.rand(2, 1, 6, 10)
    first(_regions(), *spaces)
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        one, other = first(_regions(), *spaces), second(_regions(), *spaces)
        assert torch.equal(one.negative_regions, other.negative_regions)
        assert torch.equal(one.intra_foreground, other.intra_foreground)


def test_spaces_are_rectified_projections() -> None:
    torch.manual_seed(0)
    contrast = Contrast(4, 6, MapSamplingConfig())
    features = torch.randn(2, 4, 3, 3)
    for found, layer in zip(
        contrast.spaces(features), (contrast.project_foreground, contrast.project_background), strict=True
    ):
        torch.testing.assert_close(found, functional.conv2d(features, layer.weight).relu())
