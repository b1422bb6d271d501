"""What every method of the catalogue must do, in every phase, on tiny pictures with random weights."""

from __future__ import annotations

import copy
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import tomli_w
import torch
from torch import Tensor

import wsss_methods
from wsss_platform.config import MethodConfig, fingerprint, flatten, look_up, override, read_toml, to_toml, validated
from wsss_platform.errors import InputError
from wsss_platform.method import Method, Phase
from wsss_platform.method.objective import Batch, Objective
from wsss_platform.testing.batches import noise_batch

CLASSES = 4
SMALL: dict[str, dict[str, Any]] = {
    "drs": {"extra_layers": 1},
    "fbr": {"heads.projection": 16, "heads.dilations": [1, 2], "sampling.bank_size": 64, "sampling.negatives": 16},
    "fbr_cam": {"heads.projection": 16, "sampling.bank_size": 64, "sampling.negatives": 16},
    "fbr_s": {"heads.projection": 16, "sampling.bank_size": 64, "sampling.negatives": 16, "host.small": 48},
    # No warm-up, so that every term counts from the start. SupportNet then is MainNet's untrained self, from which its
    # two terms can only grow; with small weights the total still falls.
    "rcm_mam": {
        "heads.features": 64,
        "support.warm_up": 0,
        "support.ramp": 0,
        "support.ema": 0.5,
        "loss.regional_contrast": 0.01,
        "loss.attentive": 0.05,
    },
    # The segmentation head from the start, so that every term counts; two rounds of refinement, so that small squares
    # stay. Random weights follow maps that jump, so what is taught by maps weighs less, or the total rises and falls.
    "rtc": {
        "heads.embedding": 128,
        "heads.widths": [32, 16, 8],
        "views.small": 48,
        "segmentation.start": 0,
        "segmentation.iterations": 2,
        "segmentation.dilations": [1, 2],
        "loss.cross_refinement": 0.1,
        "loss.segmentation": 0.2,
    },
}
"""What makes a method's own parts small; everything else stays at its default."""
VARIANTS: dict[str, list[dict[str, Any]]] = {
    name: [{}, {"sampling.variant": "as_released"}] for name in ("fbr", "fbr_cam", "fbr_s")
} | {"drs": [{}, {"suppression.control": "constant"}, {"suppression.placement": "stage4", "refine.enabled": False}]}
VARIANTS["rtc"] = [{}, {"contrast.members": "labelled", "loss.class_relation": 0.1}]
VARIANTS["rcm_mam"] = [
    {},
    {"support.update": "frozen", "heads.projection": 8, "regions.pool": "image", "attention.target": "mean"},
    {"support.update": "epoch_copy", "heads.features": 0, "attention.main_scales": "all"},
]
WITHOUT_GRADIENT: dict[str, tuple[str, ...]] = {}
"""Trainable parameters that a method declares to get no gradient: method -> prefixes. None does today."""


@dataclass(frozen=True)
class Case:
    """A method's phase under a config."""

    method: Method
    config: MethodConfig
    phase: Phase

    def build(self, seed: int = 0) -> Objective:
        torch.manual_seed(seed)
        return self.phase.build(self.config, CLASSES).train()

    @property
    def weights(self) -> dict[str, float]:
        return dict(look_up(self.config, self.phase.loss).model_dump())

    def total(self, objective: Objective, batch: Batch) -> Tensor:
        terms = objective(batch, 0.5)
        return torch.stack([terms[name] * weight for name, weight in self.weights.items()]).sum()


def _cases(*, varied: bool = True) -> list[Any]:
    """Every phase of every method and variant; one that a variant does not change is there once."""
    cases, seen = [], set()
    for name in wsss_methods.names():
        method = wsss_methods.get(name)
        for variant in VARIANTS.get(name, [{}])[: None if varied else 1]:
            small = {"backbone.weights": "none", **SMALL.get(name, {}), **variant}
            config = override(method.config(), small)
            for phase in method.phases(config):
                content = (name, phase.name, fingerprint({path: look_up(config, path) for path in phase.sections}))
                if content in seen:
                    continue
                seen.add(content)
                label = "-".join([name, phase.name, *(str(value) for value in variant.values())])
                cases.append(pytest.param(Case(method, config, phase), id=label))
    return cases


every_method = pytest.mark.parametrize("name", wsss_methods.names())
every_phase = pytest.mark.parametrize("case", _cases())
every_plain_phase = pytest.mark.parametrize("case", _cases(varied=False))
"""Without the variants; those whose state differs have resume tests of their own."""


def _batch(case: Case, *size: int, seed: int = 0) -> Batch:
    return noise_batch(case.phase, CLASSES, *size, seed=seed)


def _train(case: Case, objective: Objective, steps: int, optimiser: torch.optim.Optimizer | None = None) -> list[float]:
    optimiser = optimiser or torch.optim.AdamW(objective.param_groups(_train_section(case)))
    losses = []
    for step in range(steps):
        torch.manual_seed(step)
        total = case.total(objective, _batch(case, seed=step))
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        objective.after_step()
        losses.append(float(total.detach()))
    return losses


def _train_section(case: Case) -> Any:
    return look_up(case.config, case.phase.train)


@every_method
def test_config_goes_through_toml_and_back(name: str) -> None:
    config = wsss_methods.get(name).config()
    assert validated(type(config), tomllib.loads(to_toml(config)), "round trip") == config


@every_method
def test_presets_are_legal_and_change_something(name: str) -> None:
    method = wsss_methods.get(name)
    assert {"paper", "sample"} <= set(method.presets())
    for path in method.presets().values():
        config = override(method.config(), flatten(read_toml(path)), path.name)
        assert config != method.config()
        assert tomllib.loads(tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))) == tomllib.loads(
            to_toml(config)
        )


@every_method
def test_search_space_is_legal_for_the_defaults_and_every_preset(name: str, pytestconfig: pytest.Config) -> None:
    from wsss_platform.search.space import load_space

    method = wsss_methods.get(name)
    path = pytestconfig.rootpath / "search_spaces" / f"{name}.toml"
    configs = [method.config()]
    configs += [override(method.config(), flatten(read_toml(preset))) for preset in method.presets().values()]
    for config in configs:
        assert load_space(path, config).axes


@every_method
def test_sections_exist_and_phases_are_told_apart(name: str) -> None:
    method = wsss_methods.get(name)
    config = method.config()
    phases = method.phases(config)
    for phase in phases:
        for path in (*phase.sections, phase.maps, phase.masks, *([phase.begins] if phase.begins else [])):
            look_up(config, path)
    earlier: set[str] = set()
    for phase in phases:
        assert phase.name not in earlier
        assert set(phase.reads) <= earlier
        earlier.add(phase.name)


def test_every_field_of_a_config_is_described() -> None:
    for name in wsss_methods.names():
        for section in wsss_methods.get(name).config.model_fields.values():
            kind = section.annotation
            if isinstance(kind, type) and kind.__module__.startswith("wsss_methods"):
                missing = [field for field, info in kind.model_fields.items() if not info.description]
                assert not missing, f"{kind.__name__}: {missing}"


def test_the_catalogue_imports_no_torch() -> None:
    code = (
        "import sys, wsss_methods\n"
        "for name in wsss_methods.names():\n"
        "    method = wsss_methods.get(name); method.phases(method.config()); method.presets()\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_unknown_and_outside_methods_are_explained() -> None:
    with pytest.raises(InputError, match="did you mean 'fbr'"):
        wsss_methods.get("fbrr")
    with pytest.raises(InputError, match="cannot import"):
        wsss_methods.get("no_such_package:METHOD")
    with pytest.raises(InputError, match="METHOD"):
        wsss_methods.get("wsss_methods.cam:METHODS")
    with pytest.raises(InputError, match="expected a wsss_platform.method.Method, got a str"):
        wsss_methods.get("wsss_methods.cam:__doc__")
    with pytest.raises(InputError, match="module:ATTRIBUTE"):
        wsss_methods.get("../cam:METHOD")
    assert wsss_methods.get("wsss_methods.cam:METHOD") is wsss_methods.get("cam")


@every_phase
def test_loss_terms_are_the_loss_fields_and_finite(case: Case) -> None:
    terms = case.build().losses(_batch(case), 0.0)
    assert set(terms) == set(case.weights)
    for name, term in terms.items():
        assert term.shape == (), name
        assert torch.isfinite(term), name
        if case.weights[name]:
            assert term.detach() > 0, f"{name} is idle on a batch that has everything"


@every_phase
def test_gradient_reaches_every_trainable_parameter(case: Case) -> None:
    objective = case.build()
    for seed in range(2):
        case.total(objective, _batch(case, seed=seed)).backward()
    declared = WITHOUT_GRADIENT.get(case.method.name, ())
    idle = [
        name
        for name, parameter in objective.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    assert [name for name in idle if not name.startswith(declared or ("\0",))] == []


@every_phase
def test_parameter_groups_hold_every_trainable_parameter_once(case: Case) -> None:
    objective = case.build()
    grouped = [id(p) for group in objective.param_groups(_train_section(case)) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in objective.parameters() if p.requires_grad)


@pytest.mark.slow
@every_phase
def test_two_seeded_runs_are_bit_equal(case: Case) -> None:
    first, second = case.build(), case.build()
    assert _train(case, first, 3) == _train(case, second, 3)
    for (name, one), other in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


@every_plain_phase
def test_restored_in_the_middle_it_goes_on_with_the_same_losses(case: Case) -> None:
    first = case.build()
    optimiser = torch.optim.AdamW(first.param_groups(_train_section(case)))
    _train(case, first, 2, optimiser)
    state = {name: value.clone() for name, value in first.state_dict().items()}
    moments = copy.deepcopy(optimiser.state_dict())

    second = case.build(seed=99)
    second.load_state_dict(state)
    resumed = torch.optim.AdamW(second.param_groups(_train_section(case)))
    resumed.load_state_dict(moments)
    assert _train(case, second, 3, resumed) == _train(case, first, 3, optimiser)


@every_plain_phase
def test_a_phase_says_whether_it_scores_pictures(case: Case) -> None:
    objective = case.build()
    scores = type(objective).image_scores is not Objective.image_scores
    assert case.phase.image_scores is scores
    if scores:
        found = objective.eval().image_scores(torch.randn(2, 3, 64, 48))
        assert found.shape == (2, CLASSES)
        assert found.ge(0).all()
        assert found.le(1).all()


@every_phase
@pytest.mark.parametrize(("height", "width"), [(64, 64), (16, 16), (96, 32), (61, 47)], ids=str)
def test_class_maps_have_the_declared_shape(case: Case, height: int, width: int) -> None:
    objective = case.build().eval()
    stride = objective.map_stride or case.config.backbone.output_stride
    with torch.inference_mode():
        maps = objective.class_maps(torch.randn(2, 3, height, width), torch.ones(2, CLASSES))
    channels = CLASSES + (1 if objective.background_channel else 0)
    assert maps.shape == (2, channels, -(-height // stride), -(-width // stride))
    assert torch.isfinite(maps).all()


@every_phase
def test_class_maps_do_not_depend_on_chance_or_change_state(case: Case) -> None:
    objective = case.build()
    _train(case, objective, 1)
    objective.eval()
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    images, labels = torch.randn(1, 3, 64, 64), torch.ones(1, CLASSES)
    with torch.inference_mode():
        assert torch.equal(objective.class_maps(images, labels), objective.class_maps(images, labels))
    for name, value in objective.state_dict().items():
        assert torch.equal(value, before[name]), name


def _one_picture(batch: Batch) -> Batch:
    extras = {name: value[:1] for name, value in batch.extras.items()}
    return Batch(batch.ids[:1], batch.images[:1], batch.labels[:1], batch.valid[:1], extras)


def _no_labels(batch: Batch) -> Batch:
    batch.labels.zero_()
    return batch


def _nothing_known(batch: Batch) -> Batch:
    for value in batch.extras.values():
        value.fill_(255 if value.dtype == torch.int64 else 0)
    return batch


def _no_foreground(batch: Batch) -> Batch:
    for value in batch.extras.values():
        value.fill_(0)
    return batch


@every_phase
@pytest.mark.parametrize("limit", [_one_picture, _no_labels, _nothing_known, _no_foreground])
def test_limits_give_finite_losses_and_gradients(case: Case, limit: Callable[[Batch], Batch]) -> None:
    objective = case.build()
    for _ in range(2):
        total = case.total(objective, limit(_batch(case)))
        assert torch.isfinite(total)
        total.backward()
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.grad is not None)


@every_phase
def test_odd_sizes_train(case: Case) -> None:
    objective = case.build()
    assert torch.isfinite(case.total(objective, _batch(case, 2, 61, 47)))


@pytest.mark.slow
@every_phase
def test_loss_falls_on_one_batch(case: Case) -> None:
    objective = case.build()
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-3)
    batch = _batch(case)
    losses = []
    for _ in range(12):
        total = case.total(objective, batch)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        losses.append(float(total.detach()))
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3]), losses


@every_phase
def test_absent_classes_are_not_in_the_extracted_maps(case: Case) -> None:
    numpy = pytest.importorskip("numpy")
    from wsss_platform.data.split import Sample
    from wsss_platform.maps.extract import Extractor

    section = look_up(case.config, case.phase.maps).model_copy(update={"gate": "labels"})
    extractor = Extractor(case.build(), section, case.config.backbone.output_stride)
    image = numpy.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=numpy.uint8)
    stored = extractor(Sample("picture", image, numpy.array([True, False, True, False])))
    assert stored.classes.tolist() == [0, 2]
    assert stored.scores.shape[0] == 2


@every_phase
def test_applied_values_are_the_configured_ones(case: Case) -> None:
    for path, value in case.build().applied().items():
        assert look_up(case.config, path) == value, path
