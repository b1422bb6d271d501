"""Methods side by side: from scored runs in the store to differences with intervals. Ours.

Every variant is compared where its own sweep is best (`at = "best"`, an oracle for all alike), as its masks were made
(`at = "masks"`), or where it takes as much of the background as the baseline does where that is best, seed by seed and
as nearly as its sweep allows (`at = "background"`): both then find objects with the same amount of background.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsss_platform.config import MasksConfig
from wsss_platform.data.palette import mask_file, read_mask
from wsss_platform.errors import InputError
from wsss_platform.maps.storage import MapReader, full_size
from wsss_platform.masks.rules import labels
from wsss_platform.plan.experiment import Experiment, Stage
from wsss_platform.report.documents import Difference, Gap
from wsss_platform.run.pipeline import read_score
from wsss_platform.scores.bootstrap import Statistic, compare_seeds
from wsss_platform.scores.confusion import iou_of_parts, mean_iou_of_parts
from wsss_platform.scores.effects import effects
from wsss_platform.scores.score import Score
from wsss_platform.search.costs import trained
from wsss_platform.store.artefacts import Store

Where = Literal["masks", "best", "background"]
"""Which prediction of each variant is compared; see above."""


@dataclass(frozen=True)
class Variant:
    """One method (or one setting of it) with its seeds."""

    label: str
    experiments: tuple[Experiment, ...]
    """One per seed, in the order of the other variants'."""


def looked_at(experiment: Experiment, at: Where) -> Stage:
    """What a comparison needs of an experiment beside its score: its masks, or the maps that they are made of."""
    masks = experiment.stage("masks")
    return masks if at == "masks" else masks.inputs["maps"]


class ScoredVariant:
    """A variant's counts, read from the store."""

    def __init__(self, variant: Variant, store: Store, at: Where, baseline: ScoredVariant | None = None) -> None:
        """
        Args:
            variant: what was run.
            store: where its scores are.
            at: which prediction.
            baseline: what it is compared with; None for the baseline itself.

        Raises:
            InputError: a score is missing or has no scored pixel (of background); the baseline has other seeds.
        """
        self.variant, self._store, self._at = variant, store, at
        self.scores = [self._score(experiment) for experiment in variant.experiments]
        self._places = [score.best for score in self.scores]
        if at == "background" and baseline is not None:
            seeds, wanted = len(self.scores), len(baseline.scores)
            if seeds != wanted:
                raise InputError(f"{variant.label} has {seeds} seeds, the baseline {baseline.variant.label} {wanted}")
            levels = [score.background_taken[score.best] for score in baseline.scores]
            self._places = [score.taking(float(level)) for score, level in zip(self.scores, levels, strict=True)]
        self.ids = self.scores[0].ids
        self.classes = self.scores[0].classes

    def _score(self, experiment: Experiment) -> Score:
        return read_score(experiment, self._store, f"{self.variant.label}, seed {experiment.seed},")

    @cached_property
    def parts(self) -> NDArray[np.int64]:
        """int64 [S, N, 3, C + 1], see `confusion.parts`; images in the order of `ids`."""
        rows = []
        for score, threshold in zip(self.scores, self._places, strict=True):
            place = {name: row for row, name in enumerate(score.ids)}
            counts = score.parts if self._at == "masks" else score.parts_over(threshold)
            rows.append(counts[[place[name] for name in self.ids]])
        return np.stack(rows)

    @cached_property
    def effects(self) -> Mapping[str, NDArray[np.int64]]:
        """Effect -> int64 [S, N, 2]: hits, and pixels counted."""
        return self.count_effects()

    def count_effects(self, on_image: Callable[[], object] = lambda: None) -> Mapping[str, NDArray[np.int64]]:
        """`effects`, counted now, which takes a while: `on_image` is called S x N times."""
        found: dict[str, NDArray[np.int64]] = {}
        for seed, experiment in enumerate(self.variant.experiments):
            truth = experiment.dataset.truth(experiment.data.score_list)
            parts, context = getattr(truth, "parts", None), getattr(truth, "context", None)
            read = self._reader(seed)
            for row, name in enumerate(self.ids):
                counts = effects(
                    read(name), truth.mask(name), parts(name) if parts else None, context(name) if context else None
                )
                for effect, pair in counts.items():
                    found.setdefault(effect, np.zeros((len(self.scores), len(self.ids), 2), np.int64))
                    found[effect][seed, row] = pair
                on_image()
        self.effects = found
        return found

    def thresholds(self) -> list[float | None]:
        """Of each seed, in the order of the experiments; of masks as made None where not one constant made them."""
        if self._at == "masks":
            return [_constant(experiment) for experiment in self.variant.experiments]
        return [self._threshold(seed) for seed in range(len(self.scores))]

    def _threshold(self, seed: int) -> float:
        return float(self.scores[seed].thresholds[self._places[seed]])

    def _reader(self, seed: int) -> Callable[[str], NDArray[np.uint8]]:
        """What gives an image's mask under seed number `seed`: as made, or from its maps at the threshold used."""
        stage = looked_at(self.variant.experiments[seed], self._at)
        folder = self._store.open(stage.kind, stage.key).folder
        if self._at == "masks":
            return lambda name: read_mask(mask_file(folder, name))
        maps = MapReader(folder)
        rule = MasksConfig(background=self._threshold(seed))

        def at_threshold(name: str) -> NDArray[np.uint8]:
            stored = maps[name]
            return labels(full_size(stored), stored.classes, rule)

        return at_threshold

    def mask(self, name: str) -> NDArray[np.uint8]:
        """An image's mask under the first seed: uint8 [H, W]."""
        mask: NDArray[np.uint8] = self._reader(0)(name)
        return mask

    def summary(self) -> dict[str, Any]:
        """Plain values: mean over seeds, spread, per class, effects, thresholds, mean seconds of training."""
        seconds = [trained(experiment, self._store) for experiment in self.variant.experiments]
        values = [float(value) for value in mean_iou_of_parts(self.parts.sum(1))]
        classes = np.nanmean(np.atleast_2d(iou_of_parts(self.parts.sum(1))), axis=0)
        return {
            "label": self.variant.label,
            "method": self.variant.experiments[0].method.name,
            "seeds": [experiment.seed for experiment in self.variant.experiments],
            "scores": [experiment.stage("score").key for experiment in self.variant.experiments],
            "mean_iou": fmean(values),
            "mean_iou_by_seed": values,
            "spread": stdev(values) if len(values) > 1 else None,
            "thresholds": self.thresholds(),
            "training_seconds": None if None in seconds else fmean(known for known in seconds if known is not None),
            "classes": dict(zip(("background", *self.classes), map(_plain, classes), strict=True)),
            "effects": {name: _plain(fmean(share(counts.sum(1)).tolist())) for name, counts in self.effects.items()},
        }


def _constant(experiment: Experiment) -> float | None:
    """The threshold that made its masks from its maps alone, if one did."""
    rule = experiment.masks_config(experiment.stage("masks").phase)
    return rule.background if rule.rule == "constant" and rule.crf == "none" else None


def score_variants(variants: Sequence[Variant], store: Store, at: Where) -> list[ScoredVariant]:
    """The variants with their counts; the first is the baseline.

    Raises:
        InputError: a score is missing, or one lacks an image that another has.
    """
    baseline = ScoredVariant(variants[0], store, at)
    scored = [baseline, *(ScoredVariant(variant, store, at, baseline) for variant in variants[1:])]
    every = {name for one in scored for score in one.scores for name in score.ids}
    for one in scored:
        for experiment, score in zip(one.variant.experiments, one.scores, strict=True):
            if lacking := sorted(every - set(score.ids)):
                raise InputError(
                    f"{one.variant.label}, seed {experiment.seed}: image {lacking[0]!r} was not scored, but others "
                    f"have it ({len(lacking)} such); variants are compared on the same images: run it again without "
                    "--max-failures"
                )
    return scored


def share(sums: NDArray[Any]) -> NDArray[np.float64]:
    """hits / pixels counted: [..., 2] -> [...]; nan where no pixel was counted."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1], np.float64)


def differences(
    baseline: ScoredVariant, others: Sequence[ScoredVariant], resamples: int = 2000
) -> tuple[Difference, ...]:
    """Each other variant minus the baseline, in the mean IoU and every effect, with 95 % intervals.

    Raises:
        InputError: variants with other images, classes or numbers of seeds.
    """
    return tuple(_difference(baseline, other, resamples) for other in others)


def _difference(baseline: ScoredVariant, other: ScoredVariant, resamples: int) -> Difference:
    label, against = other.variant.label, baseline.variant.label
    if set(other.ids) != set(baseline.ids) or other.classes != baseline.classes:
        raise InputError(f"{label} and the baseline {against} were scored on other images or classes")
    place = {name: row for row, name in enumerate(other.ids)}
    order = [place[name] for name in baseline.ids]

    def gap(counts: NDArray[np.int64], base: NDArray[np.int64], statistic: Statistic) -> Gap:
        found = compare_seeds(counts[:, order], base, statistic, resamples)
        return Gap(**{name: _plain(value) for name, value in asdict(found.difference).items()}, wins=found.a_wins)

    return Difference(
        label=label,
        against=against,
        mean_iou=gap(other.parts, baseline.parts, mean_iou_of_parts),
        effects={name: gap(counts, baseline.effects[name], share) for name, counts in other.effects.items()},
    )


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
