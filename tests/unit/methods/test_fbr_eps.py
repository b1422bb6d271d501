"""FBR-S as a whole: how its terms come together from the parts tested elsewhere, its traps and its limits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wsss_methods.fbr.on_eps.config import FbrEpsConfig
from wsss_methods.fbr.on_eps.module import FbrEpsModule
from wsss_methods.fbr.sampling import find_map_regions, find_prototypes
from wsss_platform.config import override
from wsss_platform.errors import InputError
from wsss_platform.method.module import Batch
from wsss_platform.nets.heads.seam import evidence

SMALL = {
    "backbone.weights": "none",
    "host.small": 32,
    "heads.projection": 8,
    "heads.dropout": 0.0,
    "sampling.bank_size": 50,
    "sampling.negatives": 12,
}


def _module(**changes: Any) -> FbrEpsModule:
    config = override(FbrEpsConfig(), {**SMALL, **changes})
    torch.manual_seed(0)
    module = FbrEpsModule(config, 3).train()
    kernels = {name: 0.05 * torch.randn(module.backbone.taps[name], 3, 8, 8) for name in ("stage3", "stage4", "final")}

    def forward(images: Tensor) -> dict[str, Tensor]:
        return {name: functional.conv2d(images, kernel, stride=8).relu() for name, kernel in kernels.items()}

    module.backbone.forward = forward  # type: ignore[method-assign]
    return module


def _batch(count: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(count, 3, 64, 64, generator=generator)
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0]])[:count]
    valid = torch.ones(count, 64, 64, dtype=torch.bool)
    valid[0, :, 48:] = False
    saliency = torch.rand(count, 1, 64, 64, generator=generator) * valid.unsqueeze(1)
    return Batch([str(index) for index in range(count)], images, labels, valid, {"saliency": saliency})


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(one @ other) / max(float(one.norm()) * float(other.norm()), 1e-12)


def test_the_terms_are_the_means_over_both_views_of_the_definitions() -> None:
    module, batch = _module(), _batch()
    with torch.no_grad():
        found = module.losses(batch, 0.0)
        views: list[dict[str, Any]] = []
        small = functional.interpolate(batch.images, (32, 32), mode="bilinear", align_corners=True)
        inside = functional.interpolate(batch.valid.unsqueeze(1).float(), (4, 4), mode="nearest-exact").flatten(1) > 0
        for images in (batch.images, small):
            taps = module.backbone(images)
            weight = module.classifier.weight[:, :, 0, 0]
            maps = torch.einsum("kd,bdyx->bkyx", weight, taps["final"])  # classes, then the background
            maps = torch.cat([maps[:, 3:], maps[:, :3]], dim=1)
            refined = module.pcm(evidence(maps), images, taps["stage3"], taps["stage4"])
            grid = functional.interpolate(refined[:, 1:], (4, 4), mode="bilinear", align_corners=True)
            front = module.contrast.project_foreground(taps["final"]).relu()
            raw = module.contrast.project_background(taps["final"])
            back = (raw / math.sqrt(1 + 1e-5) + 1e-4).relu()
            regions = find_map_regions(grid.flatten(2), batch.labels, inside, module.sampling)
            vectors = functional.interpolate(front, (4, 4), mode="bilinear", align_corners=True).flatten(2)
            prototypes = find_prototypes(vectors, regions.activation, module.sampling.prototype_fraction)
            positions = [(b, n) for b in range(3) for n in range(16)]
            members = [vectors[b, :, n] for b, n in positions if regions.pseudo[b, n] == 0]
            everything = {0: sum(members) / len(members)}
            everything |= {c + 1: prototypes[c] for c in range(3) if regions.activation[:, c].any()}
            side = torch.einsum("d,bdyx->byx", module.background_classifier.weight[0, :, 0, 0], back)
            views.append(
                {
                    "maps": maps,
                    "front": front,
                    "back": back,
                    "side": side,
                    "features": taps["final"],
                    "vectors": vectors,
                    "pseudo": regions.pseudo,
                    "prototypes": everything,
                }
            )

    def contrast(of: int, labelled: int, against: int) -> float:
        total = 0.0
        prototypes = views[against]["prototypes"]
        for b, n in positions:
            label = int(views[labelled]["pseudo"][b, n])
            if label > 0 and label in prototypes:
                z = views[of]["vectors"][b, :, n]
                scores = {c: math.exp(_cosine(z, p) / 0.1) for c, p in prototypes.items()}
                total -= math.log(scores[label] / sum(scores.values()))
        return total / len(positions)

    def both(values: list[float]) -> float:
        return sum(values) / 2

    classification, cosines, entropies = [], [], []
    for view in views:
        scores = []
        for b in range(3):
            pooled = []
            for channel in view["features"][b].flatten(1).tolist():
                kept = [value for value in channel if value > 0.1 * max(channel)]
                pooled.append(sum(kept) / max(len(kept), 1))
            scores.append(module.classifier.weight.detach()[:3, :, 0, 0] @ torch.tensor(pooled))
        logs = [
            [
                -float(y) * math.log(1 / (1 + math.exp(-float(s))))
                - (1 - float(y)) * math.log(1 - 1 / (1 + math.exp(-float(s))))
                for s, y in zip(row, labels, strict=True)
            ]
            for row, labels in zip(scores, batch.labels, strict=True)
        ]
        classification.append(sum(map(sum, logs)) / 9)
        cosine, entropy = [], []
        for b in range(3):
            highest = view["maps"][b, 1:].relu().amax((1, 2))
            for y in range(view["maps"].shape[2]):
                for x in range(view["maps"].shape[3]):
                    cosine.append(_cosine(view["front"][b, :, y, x], view["back"][b, :, y, x]))
                    active = view["maps"][b, 1:, y, x].relu() * batch.labels[b] / (highest + 1e-5)
                    target = float(active.sum()) < 0.05
                    share = 1 / (1 + math.exp(-float(view["side"][b, y, x])))
                    entropy.append(-math.log(share if target else 1 - share))
        cosines.append(sum(cosine) / len(cosine))
        entropies.append(sum(entropy) / len(entropy))
    wanted = {
        "classification": both(classification),
        "decorrelation": both(cosines),
        "background_map": both(entropies),
        "cross_prototype": both([contrast(0, 0, 1), contrast(1, 1, 0)]),
        "cross_label": both([contrast(0, 1, 0), contrast(1, 0, 1)]),
    }
    assert min(wanted.values()) > 0
    for name, value in wanted.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-4), name


def test_the_released_weights_are_those_of_the_released_sum() -> None:
    weights = FbrEpsConfig().loss.model_dump()
    assert weights == {
        **dict.fromkeys(("classification", "min_pooling", "saliency", "equivariance", "cross_refinement"), 1.0),
        **dict.fromkeys(("cross_prototype", "cross_label", "intra_foreground", "decorrelation", "background_map"), 0.1),
        "negative_regions": 0.01,
    }
    assert set(_module().losses(_batch(), 0.0)) == set(weights)


def test_saliency_is_summed_over_maps_and_refined_maps_and_averaged_over_views() -> None:
    from wsss_methods.fbr.on_eps.losses import saliency_loss
    from wsss_platform.nets.heads.seam import min_pooling

    module, batch = _module(), _batch()
    with torch.no_grad():
        first, second = module.looks(batch)
        found = module.host_terms(first, second, batch.labels)
    wanted = 0.0
    for look in (first, second):
        for maps in (look.maps, look.refined):
            wanted += float(saliency_loss(maps, look.saliency, batch.labels, 0.4, 0.5)) / 2
    assert float(found["saliency"]) == pytest.approx(wanted, rel=1e-5)
    low = (float(min_pooling(first.refined, batch.labels)) + float(min_pooling(second.refined, batch.labels))) / 2
    assert float(found["min_pooling"]) == pytest.approx(low, rel=1e-5)
    assert second.saliency.shape == (3, 1, 32, 32)


def test_the_background_is_last_inside_and_first_outside() -> None:
    module, batch = _module(), _batch()
    with torch.no_grad():
        module.classifier.weight.zero_()
        module.classifier.weight[-1] = 1
        maps = module.eval().class_maps(batch.images, batch.labels)
    assert maps.shape == (3, 4, 8, 8)
    assert maps[:, 0].min() > 0
    assert not maps[:, 1:].any()


def _gradient(module: FbrEpsModule, term: str) -> set[str]:
    loss = module.losses(_batch(), 0.0)[term]
    if not loss.requires_grad:
        return set()
    named = {name: parameter for name, parameter in module.named_parameters() if not name.startswith("backbone")}
    gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name for name, gradient in zip(named, gradients, strict=True) if gradient is not None and gradient.any()}


def test_the_released_variant_trains_the_intra_foreground_term_alone() -> None:
    """Trap 2: of the two contrast terms the release detaches the anchors of one on this host (of both on AMN)."""
    foreground = {"contrast.project_foreground.weight"}
    released = {"sampling.variant": "as_released"}
    assert _gradient(_module(), "negative_regions") == _gradient(_module(), "intra_foreground") == foreground
    assert _gradient(_module(**released), "intra_foreground") == foreground
    assert _gradient(_module(**released), "negative_regions") == set()


@pytest.mark.parametrize(
    ("term", "parts"),
    [
        ("background_map", {"contrast.project_background.weight", "background_classifier.weight"}),
        ("decorrelation", {"contrast.project_foreground.weight", "contrast.project_background.weight"}),
        ("classification", {"classifier.weight"}),
        ("equivariance", {"classifier.weight"}),
        ("cross_refinement", {"pcm.low.weight", "pcm.high.weight", "pcm.mix.weight"}),
        ("min_pooling", {"pcm.low.weight", "pcm.high.weight", "pcm.mix.weight"}),
        ("cross_prototype", {"contrast.project_foreground.weight"}),
        ("cross_label", {"contrast.project_foreground.weight"}),
    ],
)
def test_each_term_trains_what_it_should(term: str, parts: set[str]) -> None:
    assert _gradient(_module(), term) == parts


def test_each_view_has_its_bank_and_both_are_stored() -> None:
    module = _module()
    module.losses(_batch(), 0.0)
    banks = [module.contrast.bank(view) for view in range(2)]
    assert all(int(bank.filled) > 0 for bank in banks)
    assert not torch.equal(banks[0].contents()[:4], banks[1].contents()[:4])
    assert int(module.contrast.draw_step) == 2, "the views draw anew"
    other = _module()
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.contrast.bank(1).contents(), banks[1].contents())


def test_one_class_no_class_and_no_saliency_are_finite() -> None:
    for labels in ([0.0, 1, 0], [0.0, 0, 0]):
        for variant in ("paper", "as_released"):
            module, batch = _module(**{"sampling.variant": variant}), _batch()
            batch.labels[:] = torch.tensor(labels)
            batch.extras["saliency"].zero_()
            terms = module.losses(batch, 0.0)
            assert all(torch.isfinite(term) for term in terms.values()), terms
            assert float(terms["intra_foreground"].detach()) == 0
            assert (float(terms["cross_prototype"].detach()) > 0) == bool(sum(labels))
            torch.stack(list(terms.values())).sum().backward()
            gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
            assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_all_padding_contrasts_nothing() -> None:
    module, batch = _module(), _batch()
    batch.valid.zero_()
    terms = module.losses(batch, 0.0)
    assert all(torch.isfinite(term) for term in terms.values())
    for name in ("cross_prototype", "cross_label", "intra_foreground", "negative_regions"):
        assert float(terms[name].detach()) == 0, name
    assert int(module.contrast.bank(0).filled) == 0


def test_dropout_is_off_when_maps_are_made() -> None:
    """Trap 7: here it stands before the side head, which makes no maps; in evaluation it is off as well."""
    module, batch = _module(**{"heads.dropout": 0.5}), _batch()
    noisy = [float(module.losses(batch, 0.0)["background_map"].detach()) for _ in range(2)]
    assert noisy[0] != noisy[1]
    assert torch.equal(module.class_maps(batch.images, batch.labels), module.class_maps(batch.images, batch.labels))
    module.eval()
    quiet = [float(module.losses(batch, 0.0)["background_map"].detach()) for _ in range(2)]
    assert quiet[0] == quiet[1]


def test_the_effective_momentum_is_the_released_one() -> None:
    """Trap 6: PolyOptimizer passes the weight decay in SGD's momentum slot."""
    assert FbrEpsConfig().train.momentum == 5e-4


def test_a_second_view_larger_than_the_crop_is_refused() -> None:
    with pytest.raises(InputError, match=r"host\.small is 256; it must not exceed train\.crop, 128"):
        override(FbrEpsConfig(), {"host.small": 256, "train.crop": 128})


def test_autocast_keeps_the_terms_in_float32() -> None:
    module = _module()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = module.losses(_batch(), 0.0)
    assert {term.dtype for term in terms.values()} == {torch.float32}
    assert all(torch.isfinite(term) for term in terms.values())


def test_on_wide_resnet38_the_layers_and_rates_are_the_released_ones() -> None:
    from pathlib import Path

    import wsss_methods.fbr.on_eps
    from wsss_platform.config import flatten, read_toml

    preset = Path(wsss_methods.fbr.on_eps.__file__).parent / "presets" / "paper.toml"
    config = override(FbrEpsConfig(), {**flatten(read_toml(preset)), "backbone.weights": "none"})
    with torch.device("meta"):
        module = FbrEpsModule(config, 20)
    shapes = {name: tuple(p.shape[:2]) for name, p in module.named_parameters() if not name.startswith("backbone")}
    assert shapes == {
        "classifier.weight": (21, 4096),  # fc8
        "pcm.low.weight": (64, 512),  # f8_3
        "pcm.high.weight": (128, 1024),  # f8_4
        "pcm.mix.weight": (192, 195),  # f9
        "contrast.project_foreground.weight": (128, 4096),  # proj_fg
        "contrast.project_background.weight": (128, 4096),  # proj_bg
        "background_classifier.weight": (1, 128),  # bg_classifier
    }
    assert module.taps == ("conv4", "conv5")
    assert module.background_norm.bias.shape == (128,)  # bg_bn
    groups = {group["name"]: group for group in module.param_groups(config.train)}
    assert groups["new"]["lr"] == pytest.approx(0.1)
    assert groups["pretrained"]["lr"] == pytest.approx(0.01)
    assert groups["new"]["weight_decay"] == config.train.momentum == 5e-4, "trap 6"
    assert module.contrast.bank(1).vectors.shape == (50_000, 128)
