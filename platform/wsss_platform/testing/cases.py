"""What is tested: a method with its small settings, and its phases under each of its variants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsss_platform.config import MethodConfig, TrainConfig, fingerprint, look_up, override
from wsss_platform.errors import InputError
from wsss_platform.method import Method, Phase
from wsss_platform.method.module import Batch, TrainingModule
from wsss_platform.testing.batches import noise_batch

CLASSES = 4


@dataclass(frozen=True)
class Case:
    """A method's phase under a config."""

    method: Method
    config: MethodConfig
    phase: Phase
    variant: Mapping[str, Any]
    """What differs from the method's small settings."""

    @property
    def id(self) -> str:
        """Of its tests."""
        return "-".join([self.method.name, self.phase.name, *(str(value) for value in self.variant.values())])

    def __str__(self) -> str:
        changes = "".join(f", {path} = {value!r}" for path, value in self.variant.items())
        return f"method {self.method.name!r}, phase {self.phase.name!r}{changes}"

    @property
    def weights(self) -> dict[str, float]:
        """The phase's loss section."""
        return dict(look_up(self.config, self.phase.loss).model_dump())

    @property
    def train(self) -> TrainConfig:
        """The phase's training section."""
        section = look_up(self.config, self.phase.train)
        assert isinstance(section, TrainConfig), f"{self}: {self.phase.train} is no TrainConfig"
        return section

    def build(self, seed: int = 0) -> TrainingModule:
        """With random weights, in training."""
        torch.manual_seed(seed)
        return self.phase.build(self.config, CLASSES).train()

    def batch(self, images: int = 4, height: int = 64, width: int = 64, seed: int = 0) -> Batch:
        """Noise with squares, see `noise_batch`."""
        return noise_batch(self.phase, CLASSES, images, height, width, seed)

    def total(self, module: TrainingModule, batch: Batch) -> Tensor:
        """What is minimised, in the middle of a training."""
        terms = module(batch, 0.5)
        assert set(terms) == set(self.weights), f"{self}: losses() gives {sorted(terms)}, not {sorted(self.weights)}"
        return torch.stack([terms[name] * weight for name, weight in self.weights.items()]).sum()

    def steps(self, module: TrainingModule, count: int, optimiser: torch.optim.Optimizer | None = None) -> list[float]:
        """The losses of some seeded steps."""
        optimiser = optimiser or self.optimiser(module)
        losses = []
        for step in range(count):
            torch.manual_seed(step)
            total = self.total(module, self.batch(seed=step))
            optimiser.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            module.after_step()
            losses.append(float(total.detach()))
        return losses

    def optimiser(self, module: TrainingModule) -> torch.optim.Optimizer:
        """With the phase's own groups."""
        return torch.optim.AdamW(module.param_groups(self.train))


@dataclass(frozen=True)
class Tested:
    """A method, and how it is tested; see `wsss_platform.testing.method_tests`."""

    method: Method
    small: Mapping[str, Any]
    variants: tuple[Mapping[str, Any], ...]
    space: Path
    without_gradient: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.cases, f"method {self.method.name!r} has no phases"  # a wrong path is an error where it is written

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """Every phase under every variant; one that a variant does not change is there once."""
        found: dict[str, Case] = {}
        for variant in self.variants:
            for case in self._phases(variant):
                sections = {path: look_up(case.config, path) for path in case.phase.sections}
                found.setdefault(fingerprint([case.phase.name, sections]), case)
        return tuple(found.values())

    @cached_property
    def plain_cases(self) -> tuple[Case, ...]:
        """Every phase under the first variant."""
        return tuple(self._phases(self.variants[0]))

    def _phases(self, variant: Mapping[str, Any]) -> Iterator[Case]:
        changes = {"backbone.weights": "none", **self.small, **variant}
        try:
            config = override(self.method.config(), changes, "settings")
        except InputError as error:
            raise InputError(f"tests of method {self.method.name!r}: {error}") from None
        for phase in self.method.phases(config):
            yield Case(self.method, config, phase, variant)
