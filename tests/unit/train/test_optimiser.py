import math

import pytest
import torch
from tiny_method import TinyObjective, Trouble

from wsss_platform.config import TrainConfig
from wsss_platform.train.optimiser import build_optimiser, pretrained_rate, schedule_factor


def test_momentum_lands_in_momentum_and_decay_in_decay() -> None:
    train = TrainConfig(optimiser="sgd", momentum=0.8, weight_decay=3e-4, learning_rate=0.01, new_layer_factor=10)
    optimiser = build_optimiser(TinyObjective(3, Trouble()), train)
    groups = {group["name"]: group for group in optimiser.param_groups}
    assert set(groups) == {"pretrained", "pretrained_no_decay", "new", "new_no_decay"}
    assert {group["momentum"] for group in groups.values()} == {0.8}
    assert [groups[name]["weight_decay"] for name in ("pretrained", "new", "new_no_decay")] == [3e-4, 3e-4, 0.0]
    assert groups["pretrained"]["lr"] == 0.01
    assert groups["new"]["lr"] == pytest.approx(0.1)
    assert pretrained_rate(optimiser) == 0.01


def test_momentum_moves_a_weight_as_momentum_does() -> None:
    """Two steps of gradient 1 without decay: the second moves by lr (1 + momentum)."""
    objective = TinyObjective(3, Trouble())
    train = TrainConfig(optimiser="sgd", momentum=0.5, weight_decay=0.0, learning_rate=0.1, new_layer_factor=1)
    optimiser = build_optimiser(objective, train)
    weight = objective.head.weight
    before = weight.detach().clone()
    for _ in range(2):
        weight.grad = torch.ones_like(weight)
        optimiser.step()
    assert torch.allclose(before - weight.detach(), torch.full_like(before, 0.1 + 0.1 * 1.5))


def test_frozen_parameters_are_left_out() -> None:
    objective = TinyObjective(3, Trouble())
    trained = {id(p) for group in build_optimiser(objective, TrainConfig()).param_groups for p in group["params"]}
    assert not trained & {id(p) for p in objective.slow.parameters()}
    assert trained == {id(p) for p in objective.parameters() if p.requires_grad}


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_every_optimiser_is_the_one_named(name: str) -> None:
    optimiser = build_optimiser(TinyObjective(3, Trouble()), TrainConfig(optimiser=name))  # type: ignore[arg-type]
    assert type(optimiser).__name__.lower() == name


def test_schedules() -> None:
    constant, poly, cosine = (
        TrainConfig(schedule="constant"),
        TrainConfig(schedule="poly", power=2.0),
        TrainConfig(schedule="cosine"),
    )
    assert [schedule_factor(constant, step, 4) for step in range(4)] == [1, 1, 1, 1]
    assert [schedule_factor(poly, step, 4) for step in range(4)] == [1, 0.5625, 0.25, 0.0625]
    assert [schedule_factor(cosine, step, 4) for step in range(3)] == [1, pytest.approx(0.5 + math.sqrt(0.125)), 0.5]
