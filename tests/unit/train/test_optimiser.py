import math

import pytest
import torch

from tiny_method import TinyModule, Trouble
from wsss_platform.config import MethodConfig, TrainConfig, override
from wsss_platform.errors import InputError
from wsss_platform.train.optimiser import build_optimiser, pretrained_rate, schedule_factor


def test_momentum_lands_in_momentum_and_decay_in_decay() -> None:
    train = TrainConfig(optimiser="sgd", momentum=0.8, weight_decay=3e-4, learning_rate=0.01, new_layer_factor=10)
    optimiser = build_optimiser(TinyModule(3, Trouble()), train)
    groups = {group["name"]: group for group in optimiser.param_groups}
    assert set(groups) == {"pretrained", "pretrained_no_decay", "new", "new_no_decay"}
    assert {group["momentum"] for group in groups.values()} == {0.8}
    assert [groups[name]["weight_decay"] for name in ("pretrained", "new", "new_no_decay")] == [3e-4, 3e-4, 0.0]
    assert groups["pretrained"]["lr"] == 0.01
    assert groups["new"]["lr"] == pytest.approx(0.1)
    assert pretrained_rate(optimiser) == 0.01


def test_momentum_moves_a_weight_as_momentum_does() -> None:
    """Two steps of gradient 1 without decay: the second moves by lr (1 + momentum)."""
    module = TinyModule(3, Trouble())
    train = TrainConfig(optimiser="sgd", momentum=0.5, weight_decay=0.0, learning_rate=0.1, new_layer_factor=1)
    optimiser = build_optimiser(module, train)
    weight = module.head.weight
    before = weight.detach().clone()
    for _ in range(2):
        weight.grad = torch.ones_like(weight)
        optimiser.step()
    assert torch.allclose(before - weight.detach(), torch.full_like(before, 0.1 + 0.1 * 1.5))


def test_frozen_parameters_are_left_out() -> None:
    module = TinyModule(3, Trouble())
    trained = {id(p) for group in build_optimiser(module, TrainConfig()).param_groups for p in group["params"]}
    assert not trained & {id(p) for p in module.slow.parameters()}
    assert trained == {id(p) for p in module.parameters() if p.requires_grad}


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_every_optimiser_is_the_one_named(name: str) -> None:
    optimiser = build_optimiser(TinyModule(3, Trouble()), TrainConfig(optimiser=name))  # type: ignore[arg-type]
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


def test_step_schedule_drops_at_the_start_of_an_epoch() -> None:
    """DRS: a tenth from the start of epochs 5 and 10 on, counted from 1; here 2 and 4 of 5, three steps each."""
    train = TrainConfig(schedule="step", steps=(2, 4), epochs=5)
    factors = [schedule_factor(train, step, 15) for step in range(15)]
    assert factors == pytest.approx([1] * 3 + [0.1] * 6 + [0.01] * 6)
    never = TrainConfig(schedule="step", steps=(9,), epochs=5)
    assert {schedule_factor(never, step, 15) for step in range(15)} == {1.0}


def test_nesterov_looks_ahead() -> None:
    """Two steps of gradient 1: v = 1, then 0.5 + 1; each step moves by lr (gradient + momentum v)."""
    module = TinyModule(3, Trouble())
    train = TrainConfig(
        optimiser="sgd", momentum=0.5, nesterov=True, weight_decay=0.0, learning_rate=0.1, new_layer_factor=1
    )
    optimiser = build_optimiser(module, train)
    weight = module.head.weight
    before = weight.detach().clone()
    for _ in range(2):
        weight.grad = torch.ones_like(weight)
        optimiser.step()
    assert torch.allclose(before - weight.detach(), torch.full_like(before, 0.1 * (1.5 + 1.75)))


def test_biases_have_their_own_rate_and_may_decay() -> None:
    """DRS: lr x 1, 2, 10, 20 with decay on all; PSA: the same rates with no decay on biases."""
    fields = {"learning_rate": 1e-3, "weight_decay": 5e-4, "new_layer_factor": 10, "bias_factor": 2}
    module = TinyModule(3, Trouble())
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    for decay_biases in (False, True):
        train = TrainConfig.model_validate({**fields, "decay_biases": decay_biases})
        groups = build_optimiser(module, train).param_groups
        for group in groups:
            bias = {names[id(parameter)].endswith("bias") for parameter in group["params"]}
            assert len(bias) == 1
            old = group["name"].startswith("pretrained")
            assert group["lr"] == pytest.approx(1e-3 * (1 if old else 10) * (2 if bias == {True} else 1))
            matrices = {parameter.ndim > 1 for parameter in group["params"]} == {True}
            assert group["weight_decay"] == (5e-4 if decay_biases or matrices else 0.0)
        assert {group["name"].startswith("pretrained") for group in groups} == {True, False}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"train.nesterov": True}, "nesterov needs optimiser 'sgd'"),
        ({"train.nesterov": True, "train.optimiser": "sgd", "train.momentum": 0}, "momentum above 0"),
        ({"train.schedule": "step"}, "go together"),
        ({"train.steps": [5]}, "go together"),
        ({"train.schedule": "step", "train.steps": [10, 5]}, "ascending"),
        ({"train.schedule": "step", "train.steps": [1]}, "ascending epochs from 2"),
        ({"train.resize": "square"}, "looks like factors"),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        override(MethodConfig(), fields)
