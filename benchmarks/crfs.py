"""Dense CRF: our lattice against pydensecrf, as IRN runs it, with all labels, and for a search of settings.

Photographs where there are any, else generated images; starts from the benchmark's maps, their classes doubled by
shifted copies where an image has too few. The other side of two passes is IRN's code: a fresh pydensecrf per pass; and
beside it pydensecrf as our own `refine` runs it, both passes on one object.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.images import PreparedImage, voc_root
from benchmarks.measure import Row, alternate
from wsss_platform.config import DataConfig, SampleConfig
from wsss_platform.data import open_data
from wsss_platform.masks.crf.dense_crf import PARAMETERS, CrfParameters, energies, kernels, refine
from wsss_platform.masks.crf.lattice import Run
from wsss_platform.masks.rules import over

IRN = PARAMETERS["irn"]
IMAGES, ROUNDS, STEPS = 4, 3, 10
Starts = list[NDArray[np.uint8]]


def rows(prepared: list[PreparedImage], classes: int, folder: Path) -> Iterator[Row]:
    """Two passes at 2, 3 and 4 labels, one pass at 21, and 16 settings."""
    chosen = prepared[:: max(1, len(prepared) // IMAGES)][:IMAGES]
    images = [_image(one) for one in chosen]
    for labels in (2, 3, 4):
        starts = [_starts(one, labels, 0.3, 0.05) for one in chosen]
        yield from _compared(f"two IRN passes at {labels} labels", images, starts, labels, 1.8)
    starts = [_starts(one, 21, 0.3) for one in chosen]
    yield from _compared("one pass at 21 labels", images, starts, 21, 1.0)
    yield _settings(images, [_starts(one, 2, 0.3)[0] for one in chosen])


def _compared(name: str, images: Starts, starts: list[Starts], labels: int, asked: float) -> Iterator[Row]:
    """Our lattice against fresh objects; with two passes also against one object for both."""
    work = list(zip(images, starts, strict=True))

    def ours() -> list[Starts]:
        return [refine(image, start, labels, IRN, STEPS, "lattice") for image, start in work]

    def fresh() -> list[Starts]:
        return [[refine(image, [one], labels, IRN, STEPS)[0] for one in start] for image, start in work]

    def shared() -> list[Starts]:
        return [refine(image, start, labels, IRN, STEPS) for image, start in work]

    agreement, worst = _agreement(ours(), fresh())
    note = f"{len(images)} images, {agreement:.4%} of labels equal, {worst:.4%} on the worst"
    own, other, once, floor = (
        seconds / len(images) * 1e3 for seconds in alternate(ours, fresh, shared, lambda: _built(images), rounds=ROUNDS)
    )
    limit = {"limit_share": floor / own, "limit": "building one lattice of each kernel"}
    yield Row(f"{name} vs pydensecrf", own, other, "ms", asked, **limit, note=note)  # type: ignore[arg-type]
    if len(starts[0]) > 1:
        yield Row(f"{name} vs pydensecrf, one object", own, once, "ms", **limit, note=note)  # type: ignore[arg-type]


def _settings(images: Starts, starts: Starts) -> Row:
    """Sixteen weights and iterations on one image: one lattice, against sixteen objects."""
    grid = [(gaussian, bilateral) for gaussian in (1, 2, 3, 5) for bilateral in (2.5, 5, 10, 15)]

    def ours() -> list[Starts]:
        found = []
        for image, start in zip(images, starts, strict=True):
            unary = energies(start, 2, "labels")
            runs = [Run(unary, gaussian, bilateral, (STEPS,)) for gaussian, bilateral in grid]
            found.append([labels[0] for labels in kernels(image, IRN).labels(runs)])
        return found

    def theirs() -> list[Starts]:
        settings = [CrfParameters("labels", 3, gaussian, 50, 5, bilateral) for gaussian, bilateral in grid]
        return [
            [refine(image, [start], 2, setting, STEPS)[0] for setting in settings]
            for image, start in zip(images, starts, strict=True)
        ]

    images, starts = images[:2], starts[:2]
    agreement, worst = _agreement(ours(), theirs())
    own, other, floor = (
        seconds / len(images) * 1e3 for seconds in alternate(ours, theirs, lambda: _built(images), rounds=ROUNDS)
    )
    return Row(
        name="16 CRF settings on the shared lattice, build counted, vs 16 pydensecrf runs",
        ours=own,
        theirs=other,
        unit="ms",
        asked=5,
        limit_share=floor / own,
        limit="building one lattice of each kernel",
        note=f"2 labels, {len(images)} images, {agreement:.4%} of labels equal, {worst:.4%} on the worst",
    )


def _built(images: Starts) -> None:
    for image in images:
        both = kernels(image, IRN)
        both.gaussian, both.bilateral  # noqa: B018 (built when first asked for)


def _agreement(ours: list[Starts], theirs: list[Starts]) -> tuple[float, float]:
    """Share of equal labels over all, and in the worst mask."""
    each = [np.mean(a == b) for mine, other in zip(ours, theirs, strict=True) for a, b in zip(mine, other, strict=True)]
    if min(each) < 0.9999:
        raise AssertionError(f"the two CRFs differ: {min(each):.4%} of labels equal")
    return float(np.mean(each)), float(min(each))


def _starts(one: PreparedImage, labels: int, *limits: float) -> Starts:
    """Local labels for each background, of as many classes as wanted."""
    scores = one.high_res()
    while len(scores) < labels - 1:
        height, width = scores.shape[1:]
        moved = np.roll(scores, (height // 3 + 7 * len(scores), width // 4 + 11 * len(scores)), (1, 2))
        scores = np.concatenate([scores, 0.95 * moved])
    return [over(scores[: labels - 1], limit) for limit in limits]


def _image(one: PreparedImage) -> NDArray[np.uint8]:
    """RGB of the photograph, or of the generated image."""
    root = voc_root()
    if root is None:
        return open_data(DataConfig(sample=SampleConfig(size=500, train=96))).split("train").read(one.id).image
    with Image.open(root / "JPEGImages" / f"{one.id}.jpg") as opened:
        return np.array(opened.convert("RGB"))
