"""RTC's terms on whole maps against loops; that the release's in-place writing changes nothing; limits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wsss_methods.rtc import losses
from wsss_platform.nets.heads.seam import stretched

LABELS = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
GATE = functional.pad(LABELS, (1, 0), value=1.0)[:, :, None, None]


def _maps(height: int = 6, width: int = 5, seed: int = 0) -> Tensor:
    """[2, 1 + 3, h, w], background first."""
    return 3 * torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(seed))


def test_winners_keep_the_largest_class_and_the_background() -> None:
    maps = _maps()
    found = losses.winners(maps)
    for b in range(2):
        for y in range(6):
            for x in range(5):
                best = max(float(maps[b, c, y, x]) for c in range(1, 4))
                assert found[b, 0, y, x] == maps[b, 0, y, x]
                for c in range(1, 4):
                    assert float(found[b, c, y, x]) == (best if float(maps[b, c, y, x]) == best else 0.0)
    assert torch.equal(losses.winners(found.relu()), losses.winners(losses.winners(found.relu())))


def test_structure_is_the_mean_of_the_largest_distances_of_the_winners() -> None:
    maps, back = losses.compared(_maps(), LABELS, torch.Size((6, 5))), _maps(6, 5, seed=1)
    wanted = 0.0
    target = stretched(back) * GATE
    for b in range(2):
        distances = []
        for y in range(6):
            for x in range(5):
                ours, theirs = ([float(m[b, c, y, x]) for c in range(1, 4)] for m in (maps, target))
                for c in range(3):
                    one = ours[c] if ours[c] == max(ours) else 0.0
                    other = theirs[c] if theirs[c] == max(theirs) else 0.0
                    distances.append(abs(one - other))
        kept = sorted(distances, reverse=True)[: int(3 * 30 * 0.8)]
        wanted += sum(kept) / len(kept)
    assert float(losses.structure(back, maps, LABELS, 0.8)) == pytest.approx(wanted / 2, rel=1e-4)
    assert float(losses.structure(_maps(), maps, LABELS, 1.0)) == 0, "the same map has no distance"


def _terms(views: list[Tensor], refined: list[Tensor], back: list[Tensor], *, in_place: bool) -> Tensor:
    """All terms on maps in the release's order, with a max_onehot that writes into its argument, or a copy of it."""

    def onehot(maps: Tensor) -> Tensor:
        maps = maps if in_place else maps.clone()
        classes = maps[:, 1:]
        classes[classes != classes.max(1, keepdim=True)[0]] = 0
        return maps

    one, other = (stretched(view) * GATE for view in views)
    total = (one[:, 1:] - other[:, 1:]).abs().mean()
    for maps in (one, other):
        maps[:, 0] = 1 - maps[:, 1:].max(1)[0]
    one_refined, other_refined = (stretched(maps) * GATE for maps in refined)
    for target, maps in ((other, one_refined), (one, other_refined)):
        distance = (onehot(target.detach()) - maps).abs().flatten(1)
        total = total + distance.topk(int(distance.shape[1] * 0.2), dim=1).values.mean()
    for new, maps in ((back[0], one), (back[1], other)):
        distance = (onehot(stretched(new) * GATE) - onehot(maps)).abs()[:, 1:].flatten(1)
        total = total + distance.topk(int(distance.shape[1] * 0.8), dim=1).values.mean()
    return total


def _ours(views: list[Tensor], refined: list[Tensor], back: list[Tensor]) -> Tensor:
    size = views[0].shape[2:]
    one, other = (losses.compared(view, LABELS, size) for view in views)
    both = [losses.compared(maps, LABELS, size) for maps in refined]
    crossed = losses.cross_refinement(losses.with_background(one), losses.with_background(other), *both)
    built = losses.structure(back[0], one, LABELS, 0.8) + losses.structure(back[1], other, LABELS, 0.8)
    return losses.equivariance(one, other) + crossed + built


def test_writing_in_place_changes_no_value_and_no_gradient() -> None:
    """SEAM's max_onehot zeroes through `detach()` what the structure term sees later; which takes winners again."""
    found = []
    for kind in ("in place", "copy", "ours"):
        views = [_maps(seed=seed).requires_grad_() for seed in (0, 1)]
        refined = [_maps(seed=seed).requires_grad_() for seed in (2, 3)]
        back = [_maps(seed=seed) for seed in (4, 5)]
        total = _ours(views, refined, back) if kind == "ours" else _terms(views, refined, back, in_place=kind != "copy")
        total.backward()
        found.append([total.detach(), *(each.grad for each in (*views, *refined))])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert one is not None
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)
    assert all(gradient is not None and gradient.any() for gradient in found[0])


def _balanced_by_loops(scores: Tensor, target: Tensor, labels: Tensor) -> float:
    total = 0.0
    batch, height, width = target.shape
    for b in range(batch):
        counts = {c: int((target[b] == c).sum()) for c in range(scores.shape[1])}
        labelled = sum(counts.values())
        wanted = {0, *(c + 1 for c in range(labels.shape[1]) if labels[b, c])}
        if sum(1 for count in counts.values() if count) != len(wanted):
            continue
        image = 0.0
        for y in range(height):
            for x in range(width):
                c = int(target[b, y, x])
                if c != 255:
                    loss = -float(scores[b, :, y, x].log_softmax(0)[c])
                    image += (labelled - counts[c]) / (1 + labelled) * loss
        total += image / (height * width)
    return total / batch


def test_balanced_cross_entropy_is_that_of_loops() -> None:
    scores = _maps()
    target = torch.randint(0, 2, (2, 6, 5), generator=torch.Generator().manual_seed(1)) * 2  # classes 0 and 2
    target[0, 0] = 255
    target[1, :2] = 255
    assert _balanced_by_loops(scores, target, LABELS) > 0
    found = losses.balanced_cross_entropy(scores, target, LABELS)
    assert float(found) == pytest.approx(_balanced_by_loops(scores, target, LABELS), rel=1e-4)


def test_balanced_cross_entropy_leaves_out_images_whose_target_lacks_a_class() -> None:
    scores, target = _maps(), torch.zeros(2, 6, 5, dtype=torch.int64)
    target[0, :3] = 1  # class 0, but the image also has class 2
    target[1, :3] = 2
    alone = float(losses.balanced_cross_entropy(scores, target, LABELS))
    assert alone == pytest.approx(_balanced_by_loops(scores, target, LABELS), rel=1e-4)
    target[1] = 0
    assert float(losses.balanced_cross_entropy(scores, target, LABELS)) == 0 < alone
    nothing = torch.full((2, 6, 5), 255)
    assert float(losses.balanced_cross_entropy(scores, nothing, LABELS)) == 0
    assert float(losses.balanced_cross_entropy(scores, nothing, torch.zeros(2, 3))) == 0
    right = functional.one_hot(target, 4).permute(0, 3, 1, 2) * 100.0
    target[1, :3] = 2
    assert float(losses.balanced_cross_entropy(right * 0, target, LABELS)) > 0
