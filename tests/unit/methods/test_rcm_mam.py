"""RCM+MAM as a whole: what is switched off costs nothing, SupportNet's life, and the terms put together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

import wsss_methods
from wsss_methods.rcm_mam.config import RcmMamConfig
from wsss_methods.rcm_mam.module import RcmMamModule
from wsss_methods.rcm_mam.net import Support, epochs_done
from wsss_platform.config import override
from wsss_platform.errors import InputError
from wsss_platform.method.module import Batch

CLASSES = 3
EPOCHS = 8
OFF = {"loss.regional_contrast": 0.0, "loss.attentive": 0.0}
RCM = {"loss.attentive": 0.0}
MAM = {"loss.regional_contrast": 0.0}
AT_ONCE = {"support.warm_up": 0, "support.ramp": 0}


def config(*changes: dict[str, Any]) -> RcmMamConfig:
    given: dict[str, Any] = {"backbone.weights": "none", "heads.features": 16}
    for change in changes:
        given |= change
    return override(RcmMamConfig(), given)


def build(*changes: dict[str, Any]) -> RcmMamModule:
    torch.manual_seed(0)
    return RcmMamModule(config(*changes), CLASSES).train()


def batch(seed: int = 0, side: int = 64) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(3, 3, side, side, generator=generator)
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0]])
    valid = torch.ones(3, side, side, dtype=torch.bool)
    valid[1, :, -20:] = False
    return Batch(["a", "b", "c"], images * valid.unsqueeze(1), labels, valid)


def support_of(training_module: RcmMamModule) -> Support:
    assert training_module.support is not None
    return training_module.support


def disturb(training_module: RcmMamModule, by: float = 0.05, seed: int = 3) -> None:
    """MainNet moves, as an optimiser would move it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in training_module.main.parameters():
            parameter += by * parameter.std(unbiased=False) * torch.randn(parameter.shape, generator=generator)


def weights(module: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@contextmanager
def counted(module: torch.nn.Module) -> Iterator[list[tuple[int, ...]]]:
    """Sizes of the images that a network is given."""
    sizes: list[tuple[int, ...]] = []
    hook = module.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[2:])))
    yield sizes
    hook.remove()


def step(
    training_module: RcmMamModule, progress: float, given: Batch | None = None, rate: float = 0.01
) -> dict[str, float]:
    """One step of plain gradient descent on the weighted sum."""
    terms = training_module.losses(given or batch(), progress)
    section = training_module.config.loss.model_dump()
    training_module.zero_grad()
    torch.stack([section[name] * term for name, term in terms.items()]).sum().backward()
    with torch.no_grad():
        for parameter in training_module.parameters():
            if parameter.grad is not None:
                parameter -= rate * parameter.grad
    training_module.after_step()
    return {name: float(term.detach()) for name, term in terms.items()}


def test_with_both_off_it_is_plain_cam_bit_for_bit() -> None:
    cam = wsss_methods.get("cam")
    torch.manual_seed(0)
    plain = cam.phases(cam.config())[0].build(override(cam.config(), {"backbone.weights": "none"}), CLASSES).train()
    ours = build(OFF, {"heads.features": 0, "heads.projection": 8})
    assert ours.support is None
    state = {name.removeprefix("main."): value for name, value in ours.state_dict().items()}
    assert state.keys() == plain.state_dict().keys()
    for seed in range(2):
        one, other = ours.losses(batch(seed), 0.9), plain.losses(batch(seed), 0.9)
        assert torch.equal(one["classification"], other["classification"])
        assert float(one["regional_contrast"]) == float(one["attentive"]) == 0
        for terms in (one, other):
            terms["classification"].backward()
    theirs = dict(plain.named_parameters())
    for name, parameter in ours.main.named_parameters():
        assert torch.equal(parameter.grad, theirs[name].grad), name


@pytest.mark.parametrize(
    ("switched", "progress", "main", "support"),
    [
        ({}, 0.0, [64], []),
        ({}, 0.9, [64], [64, 32, 96]),
        (RCM, 0.9, [64], [64]),
        (MAM, 0.9, [64], [32, 64, 96]),
        ({"attention.scales": [0.5]}, 0.9, [64], [64, 32]),
        ({**MAM, "attention.scales": [0.5]}, 0.9, [64], [32]),
        ({"attention.main_scales": "all"}, 0.9, [64, 32, 96], [64, 32, 96]),
    ],
    ids=["warm-up", "both", "RCM", "MAM", "both at half", "MAM at half", "MainNet too"],
)
def test_each_network_looks_no_more_often_than_needed(
    switched: dict[str, Any], progress: float, main: list[int], support: list[int]
) -> None:
    training_module = build(switched)
    with counted(training_module.main) as ours, counted(support_of(training_module).network) as theirs:
        terms = training_module.losses(batch(), progress)
    assert sorted(ours) == sorted((side, side) for side in main)
    assert sorted(theirs) == sorted((side, side) for side in support)
    on = progress > 0.5
    assert (float(terms["regional_contrast"].detach()) > 0) is (on and switched.get("loss.regional_contrast", 1) > 0)
    assert (float(terms["attentive"].detach()) > 0) is (on and switched.get("loss.attentive", 1) > 0)


def test_one_alone_is_what_it_is_beside_the_other() -> None:
    both, rcm, mam = build(AT_ONCE), build(AT_ONCE, RCM), build(AT_ONCE, MAM)
    for training_module in (both, rcm, mam):
        disturb(training_module)
    together = both.losses(batch(), 0.5)
    assert torch.equal(together["regional_contrast"], rcm.losses(batch(), 0.5)["regional_contrast"])
    assert torch.equal(together["attentive"], mam.losses(batch(), 0.5)["attentive"])


def test_warm_up_then_ramp_then_all_of_it() -> None:
    """Two epochs of warm-up of eight, two of ramp: MainNet and SupportNet stand still, so only the ramp changes."""
    training_module = build({"support.warm_up": 2, "support.ramp": 2})
    disturb(training_module)
    steps = 5  # of an epoch
    seen = []
    for number in range(EPOCHS * steps):
        terms = training_module.losses(batch(), number / (EPOCHS * steps))
        seen.append([float(terms[name].detach()) for name in ("regional_contrast", "attentive")])
    for column in zip(*seen, strict=True):
        assert column[-1] > 0
        for number, value in enumerate(column):
            ramp = min(max((number / steps - 2) / 2, 0.0), 1.0)
            assert value / column[-1] == pytest.approx(ramp, abs=1e-5)


def test_the_first_step_of_an_epoch_belongs_to_it_whatever_rounding_says() -> None:
    rounded_down = 0
    for epochs in (3, 8, 15, 40, 49):
        for per_epoch in (1, 3, 7, 10, 183):
            progress = [number / (per_epoch * epochs) for number in range(per_epoch * epochs)]
            epoch = [number // per_epoch for number in range(per_epoch * epochs)]
            assert [int(epochs_done(done, epochs)) for done in progress] == epoch
            rounded_down += [int(done * epochs) for done in progress] != epoch
    assert rounded_down  # so the margin is needed


@pytest.mark.parametrize("update", ["ema", "frozen", "epoch_copy"])
def test_supportnet_is_mainnet_until_the_warm_up_ends(update: str) -> None:
    training_module = build({"support.update": update, "support.warm_up": 2})
    for number in range(4):  # two steps an epoch
        step(training_module, number / 16)
        assert equal(weights(support_of(training_module).network), weights(training_module.main))


def test_ema_is_the_average_weight_by_weight() -> None:
    training_module = build(AT_ONCE, {"support.ema": 0.75})
    wanted = [value.double() for value in weights(support_of(training_module).network)]
    for number in range(3):
        step(training_module, number / 16)
        for index, value in enumerate(weights(training_module.main)):
            wanted[index] = 0.75 * wanted[index] + 0.25 * value.double()
    moved = 0
    initial = weights(build(AT_ONCE).main)
    for found, value, first in zip(weights(support_of(training_module).network), wanted, initial, strict=True):
        torch.testing.assert_close(found.double(), value, rtol=1e-5, atol=1e-7)
        moved += not torch.equal(found, first)
    assert moved > 20


def test_ema_of_0_is_a_copy_and_of_almost_1_stands_still() -> None:
    follows, stays = build(AT_ONCE, {"support.ema": 0.0}), build(AT_ONCE, {"support.ema": 1 - 1e-12})
    before = weights(support_of(stays).network)
    for training_module in (follows, stays):
        step(training_module, 0.1)
    assert equal(weights(support_of(follows).network), weights(follows.main))
    assert equal(weights(support_of(stays).network), before)


def test_frozen_stays_what_the_warm_up_made() -> None:
    training_module = build({"support.update": "frozen", "support.warm_up": 1})
    step(training_module, 0 / 16)
    step(training_module, 1 / 16)
    made = weights(training_module.main)
    for number in range(2, 6):
        step(training_module, number / 16)
    assert equal(weights(support_of(training_module).network), made)
    assert not equal(weights(training_module.main), made)


def test_epoch_copy_copies_where_an_epoch_begins() -> None:
    training_module = build({"support.update": "epoch_copy", "support.warm_up": 1})
    for number in range(8):  # two steps an epoch
        before = weights(training_module.main)
        kept = weights(support_of(training_module).network)
        training_module.losses(batch(), number / 16)
        used = weights(support_of(training_module).network)
        assert equal(used, before if number % 2 == 0 and number >= 2 else kept)
        step(training_module, number / 16)


def test_supportnet_is_never_trained_and_never_in_training_mode() -> None:
    training_module = build(AT_ONCE)
    for mode in (True, False):
        training_module.train(mode)
        assert not any(module.training for module in support_of(training_module).network.modules())
        assert training_module.main.training is mode
    training_module.train()
    step(training_module, 0.5)
    assert all(p.grad is None and not p.requires_grad for p in support_of(training_module).parameters())
    trained = [p for group in training_module.param_groups(training_module.config.train) for p in group["params"]]
    assert {id(p) for p in trained} == {id(p) for p in training_module.main.parameters()}


def test_statistics_of_trained_batch_norms_go_to_supportnet() -> None:
    for update, same in (("ema", True), ("frozen", False)):
        training_module = build(AT_ONCE, {"support.update": update, "backbone.batch_norm": "train"})
        step(training_module, 0.5)
        ours, theirs = list(training_module.main.buffers()), list(support_of(training_module).network.buffers())
        assert len(ours) > 50
        assert equal(ours, theirs) is same


def test_maps_are_mainnets_alone() -> None:
    training_module = build().eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad(), counted(support_of(training_module).network) as theirs:
        before = training_module.class_maps(images, torch.ones(1, CLASSES))
        for parameter in support_of(training_module).parameters():
            parameter.zero_()
        assert torch.equal(training_module.class_maps(images, torch.ones(1, CLASSES)), before)
    assert theirs == []


def test_evaluation_changes_nothing() -> None:
    training_module = build({"support.update": "epoch_copy"})
    step(training_module, 0.5)
    disturb(training_module)
    state = {name: value.clone() for name, value in training_module.state_dict().items()}
    training_module.eval().losses(batch(), 0.9)
    assert all(torch.equal(value, state[name]) for name, value in training_module.state_dict().items())


def looked(network: Any, image: Tensor, side: int, label: Tensor, inside: Tensor, grid: int) -> Tensor:
    """One image at one size: ReLU, its classes and its inside alone, divided by the maximum; [C, grid, grid]."""
    if side != image.shape[-1]:
        image = torch.nn.functional.interpolate(image[None], (side, side), mode="bilinear", antialias=True)[0]
    maps = network(image[None]).maps[0]
    if maps.shape[-1] != grid:
        maps = torch.nn.functional.interpolate(maps[None], (grid, grid), mode="bilinear")[0]
    rows = []
    for c in range(CLASSES):
        row = maps[c].clamp(min=0) * inside * label[c]
        rows.append(row / row.max() if row.max() > 0 else row)
    return torch.stack(rows)


@pytest.mark.parametrize("target", ["max", "mean"])
@pytest.mark.parametrize("main_scales", ["one", "all"])
def test_the_attentive_term_image_by_image(target: str, main_scales: str) -> None:
    training_module = build(AT_ONCE, MAM, {"attention.target": target, "attention.main_scales": main_scales})
    disturb(training_module)
    given, grid, sides = batch(), 4, (32, 64, 96)
    total = 0.0
    with torch.no_grad():
        for b in range(3):
            inside = given.valid[b, 8::16, 8::16].float()  # the middle of each position's cell
            seen = [(given.images[b], side, given.labels[b], inside, grid) for side in sides]
            theirs = torch.stack([looked(support_of(training_module).network, *item) for item in seen])
            wanted = theirs.amax(0) if target == "max" else theirs.mean(0)
            ours = [looked(training_module.main, *item) for item in (seen if main_scales == "all" else seen[1:2])]
            gap = (wanted - torch.stack(ours).mean(0)).abs().flatten().tolist()
            total += sum(value * value for value in gap) / sum(gap)
        found = training_module.losses(given, 0.5)["attentive"]
    assert float(found) == pytest.approx(total / 3, rel=1e-4)


def test_regions_and_prototypes_are_supportnets_features_are_mainnets() -> None:
    """Another classifier of MainNet changes nothing and gets no gradient; another one of SupportNet does change it."""
    training_module = build(AT_ONCE, RCM, {"heads.projection": 8, "regions.background": 0.3})
    disturb(training_module)
    first = training_module.losses(batch(), 0.5)["regional_contrast"]
    with torch.no_grad():
        training_module.main.classifier.weight.neg_()
    assert torch.equal(training_module.losses(batch(), 0.5)["regional_contrast"], first)
    gradients = torch.autograd.grad(first, [training_module.main.classifier.weight], allow_unused=True)
    assert gradients == (None,)
    with torch.no_grad():
        support_of(training_module).network.classifier.weight.neg_()
    assert not torch.equal(training_module.losses(batch(), 0.5)["regional_contrast"], first)


@pytest.mark.parametrize("switched", [RCM, MAM], ids=["RCM", "MAM"])
def test_a_term_falls_when_it_is_trained_against_a_fixed_teacher(switched: dict[str, Any]) -> None:
    training_module = build(AT_ONCE, switched, {"support.update": "frozen", "heads.features": 0})
    disturb(training_module, 0.1)
    name = "regional_contrast" if switched is RCM else "attentive"
    optimiser = torch.optim.SGD(training_module.main.parameters(), lr=0.005)
    values = []
    for _ in range(10):
        term = training_module.losses(batch(), 0.5)[name]
        optimiser.zero_grad()
        term.backward()
        optimiser.step()
        values.append(float(term.detach()))
    assert values[-1] < 0.9 * values[0], values


def test_half_precision_takes_a_step() -> None:
    training_module = build(AT_ONCE, {"heads.projection": 8})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = training_module.losses(batch(), 0.5)
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    assert torch.isfinite(total)
    assert all(
        p.grad is not None and torch.isfinite(p.grad).all()
        for p in training_module.main.parameters()
        if p.requires_grad
    )
    assert all(term.dtype == torch.float32 for term in terms.values())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"regions.foreground": 0.1, "regions.background": 0.2}, "must not exceed foreground"),
        ({"support.warm_up": 8}, "support.warm_up is 8 of train.epochs = 8"),
        ({"attention.scales": [1.0, 9.0]}, "different factors in 0.1..4"),
        ({"attention.scales": [1.0, 1.0]}, "different factors in 0.1..4"),
        ({"support.update": "emma"}, "'ema', 'frozen' or 'epoch_copy'"),
        ({"support.emma": 0.9}, "support.ema"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        config(changes)


def test_without_either_term_the_warm_up_may_be_anything() -> None:
    assert config(OFF, {"support.warm_up": 100}).support.warm_up == 100
