"""AffinityNet and IRN: the released shapes, their limits, training, and refined maps against the dense way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from wsss_platform.config import AffinityConfig, BackboneConfig, TrainConfig, override
from wsss_platform.data.split import Sample
from wsss_platform.errors import InputError, RunError
from wsss_platform.maps.refine import Refiner
from wsss_platform.maps.storage import StoredMap, grid_size
from wsss_platform.method.module import Batch, TrainingModule
from wsss_platform.nets.affinity.affinity_net import AffinityNet
from wsss_platform.nets.affinity.irn import Irn
from wsss_platform.nets.affinity.pairs import pair_distances, path_maxima
from wsss_platform.nets.affinity.walk import half_plane
from wsss_platform.train.optimiser import build_optimiser, in_force, schedule_factor

KINDS = pytest.mark.parametrize("kind", ["psa", "irn"])
SMALL = BackboneConfig(weights="none")


def config(**changes: Any) -> AffinityConfig:
    return override(AffinityConfig(), {name.replace("__", "."): value for name, value in changes.items()})


def build(kind: str, backbone: BackboneConfig = SMALL, **changes: Any) -> TrainingModule:
    torch.manual_seed(0)
    return (AffinityNet if kind == "psa" else Irn)(backbone, config(**changes))


def batch(height: int = 64, width: int = 64) -> Batch:
    """A bright square on noise, its label with a border that is not known."""
    generator = torch.Generator().manual_seed(0)
    images = 0.3 * torch.randn(2, 3, height, width, generator=generator)
    seeds = torch.zeros(2, height, width, dtype=torch.int64)
    inside = (slice(None), slice(height // 4, 3 * height // 4), slice(width // 4, 3 * width // 4))
    images[:, 1][inside] += 2
    seeds[inside] = 2
    seeds[:, : height // 8] = 255
    valid = torch.ones(2, height, width, dtype=torch.bool)
    return Batch(["a", "b"], images, torch.tensor([[0.0, 1]] * 2), valid, {"seed": seeds})


def total(training_module: TrainingModule, given: Batch) -> Tensor:
    return torch.stack(list(training_module(given, 0.5).values())).sum()


def shapes(network: nn.Module, prefix: str) -> list[tuple[int, ...]]:
    return [tuple(value.shape) for name, value in network.named_parameters() if name.startswith(prefix)]


def test_affinity_net_has_the_released_layers() -> None:
    with torch.device("meta"):
        network = AffinityNet(BackboneConfig(name="wide_resnet38", weights="none", output_stride=8), config())
    assert shapes(network, "sides") == [(64, 512, 1, 1), (128, 1024, 1, 1), (256, 4096, 1, 1)]
    assert shapes(network, "mix") == [(448, 448, 1, 1)]


def test_irn_has_the_released_layers() -> None:
    with torch.device("meta"):
        network = Irn(BackboneConfig(name="resnet50", weights="none"), config())
    convolutions = [shape for shape in shapes(network, "edges") if len(shape) == 4]
    assert convolutions == [(32, inputs, 1, 1) for inputs in (64, 256, 512, 1024, 2048)]
    assert shapes(network, "boundary") == [(1, 160, 1, 1), (1,)]
    convolutions = [shape for shape in shapes(network, "displacement_") if len(shape) == 4]
    taps = [(64, 64), (128, 256), (256, 512), (256, 1024), (256, 2048)]
    assert convolutions == [(*pair, 1, 1) for pair in (*taps, (256, 768), (256, 448), (2, 256))]
    groups = [module.num_groups for module in network.modules() if isinstance(module, nn.GroupNorm)]
    assert groups == [4] * 5 + [8, 16, 16, 16, 16, 16, 16]


@KINDS
@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet50", "vgg16", "wide_resnet38"])
def test_every_backbone_fits(kind: str, name: str) -> None:
    stride = 8 if name in ("vgg16", "wide_resnet38") else 16
    backbone = BackboneConfig.model_validate({"name": name, "weights": "none", "output_stride": stride})
    with torch.device("meta"):
        network = build(kind, backbone)
        images = torch.randn(1, 3, 61, 47)
        outputs = network.embedding(images) if isinstance(network, AffinityNet) else network.branches(images)  # type: ignore[operator]
    if isinstance(outputs, Tensor):
        assert outputs.shape == (1, 448, 8, 6)
    else:
        assert [tuple(item.shape) for item in outputs] == [(1, 1, 16, 12), (1, 2, 16, 12)]


@KINDS
def test_the_learning_rate_in_force_is_that_of_pretrained_weights(kind: str) -> None:
    """IRN trains new layers alone, at ten times the rate and more; that proves nothing about the config's."""
    train = TrainConfig(learning_rate=0.2, weight_decay=0.03, new_layer_factor=10, bias_factor=2, schedule="poly")
    optimiser = build_optimiser(build(kind), train)
    for group in optimiser.param_groups:
        group["lr"] *= schedule_factor(train, 3, 8)
    expected = {"weight_decay": 0.03} | ({} if kind == "irn" else {"learning_rate": 0.2})
    assert in_force(optimiser, train, 3, 8) == pytest.approx(expected)


@KINDS
def test_terms_are_the_fields_of_the_loss_and_every_trained_parameter_has_a_gradient(kind: str) -> None:
    network = build(kind).train()
    terms = network(batch(), 0.0)
    assert network.applied() == {"affinity.train_radius": 5}
    assert set(terms) == set(type(getattr(config(), f"{kind}_loss")).model_fields)
    assert all(term.detach() > 0 for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    idle = [name for name, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert idle == []


@KINDS
def test_loss_falls_and_two_runs_are_equal(kind: str) -> None:
    def losses() -> list[float]:
        network = build(kind).train()
        optimiser = torch.optim.AdamW(network.param_groups(TrainConfig(learning_rate=2e-3)))
        found = []
        for _ in range(4):
            value = total(network, batch(32, 32))
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            found.append(float(value.detach()))
        return found

    first = losses()
    assert first[-1] < 0.9 * first[0]
    assert losses() == first


@KINDS
@pytest.mark.parametrize("label", [255, 0, 1])
def test_limits_of_labels_train(kind: str, label: int) -> None:
    given = batch(16, 24)
    given.extras["seed"].fill_(label)
    network = build(kind).train()
    value = total(network, given)
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_irn_leaves_the_backbone_alone() -> None:
    network = build("irn", BackboneConfig(weights="none", batch_norm="train")).train()
    before = {name: value.clone() for name, value in network.backbone.state_dict().items()}
    total(network, batch(32, 32)).backward()
    assert not any(p.requires_grad for p in network.backbone.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.backbone.state_dict().items())


def test_irn_keeps_the_mean_displacement() -> None:
    network = build("irn").train()
    assert isinstance(network, Irn)
    given = batch(32, 32)
    field = network.branches(given.images)[1].detach()
    network(given, 0.0)
    torch.testing.assert_close(network.displacement_mean, 0.1 * field.mean((0, 2, 3)))
    network.eval()
    wanted = field - network.displacement_mean.view(1, 2, 1, 1)
    torch.testing.assert_close(network.displacements(given.images), wanted)


def test_the_displacement_branch_has_a_rate_of_its_own() -> None:
    network = build("irn", displacement_factor=10.0)
    rates: dict[str, set[float]] = {"boundary": set(), "displacement": set()}
    names = {id(p): name for name, p in network.named_parameters()}
    seen = []
    for group in network.param_groups(TrainConfig(learning_rate=0.01)):
        for parameter in group["params"]:
            seen.append(id(parameter))
            kind = "displacement" if names[id(parameter)].startswith("displacement") else "boundary"
            assert group["name"].endswith(kind)
            rates[kind].add(round(group["lr"], 9))
    assert rates == {"boundary": {0.1}, "displacement": {1.0}}
    assert sorted(seen) == sorted(id(p) for p in network.parameters() if p.requires_grad)


def dense(start: Tensor, affinity: Tensor, beta: float, squarings: int) -> Tensor:
    """The released way: all cells by all cells."""
    count, height, width = start.shape
    matrix = torch.eye(height * width, dtype=torch.float64)
    for own, (down, right) in zip(affinity.double(), half_plane(5), strict=True):
        for y in range(height - down):
            for x in range(max(0, -right), min(width, width - right)):
                one, other = y * width + x, (y + down) * width + x + right
                matrix[one, other] = matrix[other, one] = own[y, x]
    matrix = matrix**beta
    matrix = matrix / matrix.sum(0, keepdim=True)
    for _ in range(squarings):
        matrix = matrix @ matrix
    return (start.double().reshape(count, -1) @ matrix).view(start.shape).float()


def image_and_scores(height: int, width: int) -> tuple[Tensor, Tensor]:
    """(padded image, stored scores of two classes)."""
    generator = torch.Generator().manual_seed(1)
    high, wide = -(-height // 16) * 16, -(-width // 16) * 16
    image = torch.zeros(1, 3, high, wide)
    image[:, :, :height, :width] = torch.randn(1, 3, height, width, generator=generator)
    return image, torch.rand(2, high // 4, wide // 4, generator=generator)


@torch.inference_mode()
def test_irn_refines_as_released() -> None:
    network = build("irn", walk__log2_steps=4).eval()
    assert isinstance(network, Irn)
    image, scores = image_and_scores(61, 47)
    refined = network.refine(image, scores, 61, 47)
    logits = network.branches(torch.cat([image, image.flip(3)]))[0]
    edge = torch.sigmoid(logits[0] / 2 + logits[1].flip(-1) / 2)[:, :16, :12]
    wanted = dense(scores[:, :16, :12] * (1 - edge), 1 - path_maxima(edge, half_plane(5))[0], 10, 4)
    torch.testing.assert_close(refined[:, :16, :12], wanted / wanted.max(), rtol=1e-4, atol=1e-6)
    assert refined.shape == scores.shape
    assert refined.max() == 1


@torch.inference_mode()
def test_half_a_share_is_psas_argmax() -> None:
    network = build("psa", walk__log2_steps=3, walk__alpha=4.0).eval()
    assert isinstance(network, AffinityNet)
    image, scores = image_and_scores(61, 47)
    scores *= 0.6
    shares = network.refine(image, scores, 61, 47)
    affinity = torch.exp(-pair_distances(network.embedding(image)[:, :, :8, :6], half_plane(5)))[0]
    stacked = torch.cat([(1 - scores.max(0, keepdim=True).values) ** 4, scores])
    walked = dense(functional.avg_pool2d(stacked, 2)[:, :8, :6], affinity, 10, 3)
    fine = functional.interpolate(walked[None], scale_factor=2, mode="bilinear")[0][:, :16, :12]
    inner = shares[:, :16, :12]
    torch.testing.assert_close(inner, fine[1:] / (fine[1:] + fine[:1]), rtol=1e-4, atol=1e-6)
    labels = torch.where(inner.max(0).values > 0.5, inner.argmax(0) + 1, 0)
    assert torch.equal(labels, fine.argmax(0))
    assert set(labels.unique().tolist()) > {0}, "the background and a class both win somewhere"


@KINDS
def test_an_image_larger_than_512_and_one_smaller_than_the_radius(kind: str) -> None:
    refiner = Refiner(build(kind, walk__log2_steps=2))
    for height, width in ((20, 1040), (700, 17), (5, 3)):
        rows, columns = grid_size(height, width)
        generator = np.random.default_rng(0)
        image = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        scores = generator.integers(0, 256, (2, rows, columns), dtype=np.uint8)
        stored = StoredMap("p", np.array([0, 3], np.uint8), scores, height, width)
        refined = refiner(Sample("p", image, np.zeros(4, bool)), stored)
        assert refined.scores.shape == scores.shape
        assert refined.scores.dtype == np.uint8
        assert refined.classes.tolist() == [0, 3]
        assert refined.scores.any()


def test_maps_that_do_not_fit_and_maps_of_nothing() -> None:
    refiner = Refiner(build("irn", walk__log2_steps=1))
    sample = Sample("p", np.zeros((40, 40, 3), np.uint8), np.zeros(4, bool))
    other = StoredMap("p", np.array([0], np.uint8), np.zeros((1, 13, 13), np.uint8), 48, 48)
    with pytest.raises(InputError, match="image p has 40x40 pixels, the map is of p, 48x48"):
        refiner(sample, other)
    nothing = StoredMap("p", np.zeros(0, np.uint8), np.zeros((0, 11, 11), np.float16), 40, 40)
    assert refiner(sample, nothing) is nothing
    zeros = StoredMap("p", np.array([1], np.uint8), np.zeros((1, 11, 11), np.float16), 40, 40)
    refined = refiner(sample, zeros)
    assert refined.scores.dtype == np.float16
    assert not refined.scores.any()


def test_refined_maps_that_are_not_finite_name_the_image() -> None:
    class Broken(TrainingModule):
        def refine(self, image: Tensor, scores: Tensor, height: int, width: int) -> Tensor:
            return scores * float("nan")

    sample = Sample("p7", np.zeros((16, 16, 3), np.uint8), np.zeros(4, bool))
    stored = StoredMap("p7", np.array([0], np.uint8), np.ones((1, 5, 5), np.uint8), 16, 16)
    with pytest.raises(RunError, match="image p7"):
        Refiner(Broken())(sample, stored)
