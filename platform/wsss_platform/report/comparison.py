"""Methods side by side: from scored runs in the store to differences with intervals. Ours.

Every method is looked at where its own sweep is best (`at = "best"`, an oracle for all alike), as its masks were made
(`at = "masks"`), or where it takes as much of the background as the first one does where that is best, seed by seed and
as nearly as its sweep allows (`at = "background"`): what it finds then is found at the same price.
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
from wsss_platform.run.pipeline import read_score
from wsss_platform.scores.bootstrap import Statistic, compare_seeds
from wsss_platform.scores.confusion import iou_of_parts, mean_iou_of_parts
from wsss_platform.scores.effects import effects
from wsss_platform.scores.intervals import Comparison
from wsss_platform.scores.score import Score
from wsss_platform.search.costs import trained
from wsss_platform.store.artefacts import Store

MEAN_IOU = "mean IoU"
Where = Literal["masks", "best", "background"]
"""Which prediction of each arm is compared; see above."""


@dataclass(frozen=True)
class Arm:
    """One method (or one setting of it) with its seeds."""

    label: str
    experiments: tuple[Experiment, ...]
    """One per seed, in the order of the other arms'."""


def looked_at(experiment: Experiment, at: Where) -> Stage:
    """What a comparison needs of an experiment beside its score: its masks, or the maps that they are made of."""
    masks = experiment.stage("masks")
    return masks if at == "masks" else masks.inputs["maps"]


class ScoredArm:
    """An arm's counts, read from the store."""

    def __init__(self, arm: Arm, store: Store, at: Where, first: ScoredArm | None = None) -> None:
        """
        Args:
            arm: what was run.
            store: where its scores are.
            at: which prediction.
            first: the arm that the others are held to; None for itself.

        Raises:
            InputError: a score is missing or has no scored pixel (of background); the first has other seeds.
        """
        self.arm, self._store, self._at = arm, store, at
        self.scores = [self._score(experiment) for experiment in arm.experiments]
        self._places = [score.best for score in self.scores]
        if at == "background" and first is not None:
            if len(first.scores) != len(self.scores):
                raise InputError(f"{arm.label} has {len(self.scores)} seeds, {first.arm.label} {len(first.scores)}")
            levels = [score.background_taken[score.best] for score in first.scores]
            self._places = [score.taking(float(level)) for score, level in zip(self.scores, levels, strict=True)]
        self.ids = self.scores[0].ids
        self.classes = self.scores[0].classes

    def _score(self, experiment: Experiment) -> Score:
        return read_score(experiment, self._store, f"{self.arm.label}, seed {experiment.seed},")

    @cached_property
    def parts(self) -> NDArray[np.int64]:
        """int64 [S, N, 3, C + 1], see `confusion.parts`; pictures in the order of `ids`."""
        rows = []
        for score, threshold in zip(self.scores, self._places, strict=True):
            place = {name: row for row, name in enumerate(score.ids)}
            counts = score.parts if self._at == "masks" else score.parts_over(threshold)
            rows.append(counts[[place[name] for name in self.ids]])
        return np.stack(rows)

    @cached_property
    def effects(self) -> Mapping[str, NDArray[np.int64]]:
        """Effect -> int64 [S, N, 2]: pixels counted and pixels looked at."""
        return self.count_effects()

    def count_effects(self, on_picture: Callable[[], object] = lambda: None) -> Mapping[str, NDArray[np.int64]]:
        """`effects`, counted now, which takes a while: `on_picture` is called S x N times."""
        found: dict[str, NDArray[np.int64]] = {}
        for seed, experiment in enumerate(self.arm.experiments):
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
                on_picture()
        self.effects = found
        return found

    def thresholds(self) -> list[float | None]:
        """Of each seed, in the order of the experiments; of masks as made None where not one constant made them."""
        if self._at == "masks":
            return [_constant(experiment) for experiment in self.arm.experiments]
        return [self._threshold(seed) for seed in range(len(self.scores))]

    def _threshold(self, seed: int) -> float:
        return float(self.scores[seed].thresholds[self._places[seed]])

    def _reader(self, seed: int) -> Callable[[str], NDArray[np.uint8]]:
        """What gives a picture's mask under seed number `seed`: as made, or from its maps at the arm's threshold."""
        stage = looked_at(self.arm.experiments[seed], self._at)
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
        """A picture's mask under the first seed: uint8 [H, W]."""
        mask: NDArray[np.uint8] = self._reader(0)(name)
        return mask

    def summary(self) -> dict[str, Any]:
        """Plain values: mean over seeds, spread, per class, effects, thresholds, mean seconds of training."""
        seconds = [trained(experiment, self._store) for experiment in self.arm.experiments]
        values = [float(value) for value in mean_iou_of_parts(self.parts.sum(1))]
        classes = np.nanmean(np.atleast_2d(iou_of_parts(self.parts.sum(1))), axis=0)
        return {
            "label": self.arm.label,
            "method": self.arm.experiments[0].method.name,
            "seeds": [experiment.seed for experiment in self.arm.experiments],
            "mean_iou": fmean(values),
            "mean_iou_by_seed": values,
            "spread": stdev(values) if len(values) > 1 else None,
            "thresholds": self.thresholds(),
            "training_seconds": None if None in seconds else fmean(known for known in seconds if known is not None),
            "classes": dict(zip(("background", *self.classes), map(_plain, classes), strict=True)),
            "effects": {name: fmean(share(counts.sum(1)).tolist()) for name, counts in self.effects.items()},
        }


def _constant(experiment: Experiment) -> float | None:
    """The threshold that made its masks from its maps alone, if one did."""
    rule = experiment.masks_config(experiment.stage("masks").phase)
    return rule.background if rule.rule == "constant" and rule.crf == "none" else None


def score_arms(arms: Sequence[Arm], store: Store, at: Where) -> list[ScoredArm]:
    """The arms with their counts; the first is what the others are held to.

    Raises:
        InputError: a score is missing, or one lacks a picture that another has.
    """
    first = ScoredArm(arms[0], store, at)
    scored = [first, *(ScoredArm(arm, store, at, first) for arm in arms[1:])]
    every = {name for arm in scored for score in arm.scores for name in score.ids}
    for arm in scored:
        for seed, score in zip((experiment.seed for experiment in arm.arm.experiments), arm.scores, strict=True):
            if lacking := sorted(every - set(score.ids)):
                raise InputError(
                    f"{arm.arm.label}, seed {seed}: picture {lacking[0]!r} was not scored, but others have it "
                    f"({len(lacking)} such); arms are compared on the same pictures: run it again without "
                    "--max-failures"
                )
    return scored


def share(sums: NDArray[Any]) -> NDArray[np.float64]:
    """counted / looked at: [..., 2] -> [...]; nan where nothing was looked at."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1], np.float64)


def differences(first: ScoredArm, others: Sequence[ScoredArm], resamples: int = 2000) -> list[dict[str, Any]]:
    """Each other arm minus the first, for the mean IoU and every effect, with 95 % intervals, as plain values.

    Raises:
        InputError: arms with other pictures, classes or numbers of seeds.
    """
    found = []
    for other in others:
        if set(other.ids) != set(first.ids) or other.classes != first.classes:
            raise InputError(f"{other.arm.label} and {first.arm.label} were scored on other pictures or classes")
        place = {name: row for row, name in enumerate(other.ids)}
        order = [place[name] for name in first.ids]
        measured: dict[str, tuple[NDArray[np.int64], NDArray[np.int64], Statistic]] = {
            MEAN_IOU: (other.parts[:, order], first.parts, mean_iou_of_parts)
        }
        for effect, counts in other.effects.items():
            measured[effect] = (counts[:, order], first.effects[effect], share)
        found.append(
            {
                "label": other.arm.label,
                "against": first.arm.label,
                **{name: _document(compare_seeds(*given, resamples)) for name, given in measured.items()},
            }
        )
    return found


def _document(found: Comparison) -> dict[str, Any]:
    return {**asdict(found.difference), "wins": found.a_wins}


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
