"""The end of a study: baseline, host, default settings and best trial beside each other, all by one rule.

Of each row the split that chose says what is measured: its masks as made, or its maps at the best threshold of their
exact sweep. That is then measured on the reported split, with the paired difference to the baseline and its interval
over images (and random seeds). Where both splits share images the numbers are optimistic, and the report says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsss_platform.errors import InputError
from wsss_platform.plan.experiment import Experiment, needed
from wsss_platform.plan.jobs import Runner
from wsss_platform.run.interrupts import interruptible
from wsss_platform.run.pipeline import OnEvent, read_score, run
from wsss_platform.run.trial_events import OnStudyEvent, Reporting, SharedStage
from wsss_platform.run.trial_rows import TrialRow
from wsss_platform.scores.bootstrap import compare_seeds
from wsss_platform.scores.confusion import mean_iou, mean_iou_of_parts
from wsss_platform.scores.score import Score
from wsss_platform.search.documents import BASELINE, BEST, HOST, ORACLE, StudyComparison, StudyReport, StudyRow
from wsss_platform.search.masks.table import evaluations
from wsss_platform.store.artefacts import write_atomic
from wsss_platform.tune.request import StudyRequest
from wsss_platform.tune.study import StudyFolder
from wsss_platform.tune.trial_costs import seconds

COMPARISON = "comparison.json"
"""In the study's folder."""


@dataclass(frozen=True)
class Row:
    """One row, before it is scored."""

    name: str
    experiment: Experiment
    """With the first random seed. Its scored split is the one that chooses."""
    label: str
    """The method, as a person calls it."""
    trial: int | None = None
    """Its number, where it is a trial."""

    def on(self, split: str) -> Experiment:
        """Its experiment, scored on a split."""
        data = self.experiment.data.model_copy(update={"score_list": split})
        return replace(self.experiment, data=data)


@dataclass(frozen=True)
class Measured:
    """A row's counts on the reported split."""

    row: Row
    ids: tuple[str, ...]
    parts: NDArray[np.int64]
    """[S, N, 3, C + 1] by random seed and image, see `confusion.parts`."""
    threshold: float | None
    """None: its masks as made."""
    seconds: float | None
    """None where a stage is not in the store any more."""


def rows_of(request: StudyRequest, folder: StudyFolder, trials: Sequence[TrialRow]) -> tuple[Row, ...]:
    """The rows of a study that has a best trial, the baseline first."""
    base, best = request.experiment, folder.best()
    assert best is not None
    name, rows = base.method.name, []
    for row, experiment in request.rows().items():
        if experiment != base:
            rows.append(Row(row, experiment, base.method.host_name if row == HOST else experiment.method.name))
        elif trials[0].state == "complete":
            rows.append(Row(row, base, name, 0))
        elif row == BASELINE:  # a study of plain CAM has one, whatever became of trial 0
            rows.append(Row(row, base, name))
    chosen = folder.selected_changes(base.config)
    rows.append(Row(BEST, base.with_changes(chosen, "best trial"), name, best.number))
    return tuple(rows)


def compare_rows(
    request: StudyRequest,
    folder: StudyFolder,
    trials: Sequence[TrialRow],
    runner: Runner,
    on_event: OnStudyEvent,
    asked: Callable[[], bool] = lambda: False,
) -> StudyComparison:
    """Score every row on both splits, and write `comparison.json`. Call it when the study has a best trial.

    Args:
        request: the study.
        folder: of the study.
        trials: its table.
        runner: where stages run that the store lacks.
        on_event: is called with what happens.
        asked: whether the user wants an end.

    Raises:
        Interrupted: `asked` says that the user wants an end; the next call continues.
    """
    rows = rows_of(request, folder, trials)
    on_event(Reporting(request.reported_on, tuple(row.name for row in rows)))
    maker = _Maker(request, runner, on_event, asked)
    maker.train(rows)
    measured = [maker.measure(row) for row in rows]
    ids = _common([one.ids for one in measured])
    if not ids:
        raise InputError(f"{request.reported_on}: no image was scored in every row of the comparison")
    first = measured[0]
    found = [_compared(one, first, ids) for one in measured]
    complete = [row for row in trials if row.state == "complete"]
    if request.options.objective.oracle:
        found.append(maker.oracle(complete))
    comparison = StudyComparison(
        report=StudyReport(
            chosen_on=request.experiment.data.score_list,
            reported_on=request.reported_on,
            images=len(ids),
            seeds=request.seeds,
            selection=request.selection,
            objective=request.objective,
            overlap=_overlap(request),
            against=first.row.name,
            evaluations=maker.evaluations(folder, trials),
        ),
        rows=tuple(found),
    )
    write_atomic(folder.folder / COMPARISON, comparison.model_dump_json(indent=1))
    return comparison


class _Maker:
    """Makes what a row lacks in the store, and reads its scores."""

    def __init__(
        self, request: StudyRequest, runner: Runner, on_event: OnStudyEvent, asked: Callable[[], bool]
    ) -> None:
        self.request, self.runner, self.on_event, self.asked = request, runner, on_event, asked
        self._read: dict[str, set[str]] = {}
        """Split -> keys of the scores that were read."""

    def train(self, rows: Sequence[Row]) -> None:
        """Make what rows have not trained yet, all before the first maps: the processes that make maps then stay."""
        for row in rows:
            for offset in range(self.request.seeds):
                seeded = row.experiment.of_seed(offset)
                lacking = needed(seeded.stages, self.request.store, seeded.stages[-1])
                trainings = [stage for stage in lacking if stage.kind == "train"]
                if trainings:
                    run(seeded, self.request.store, self.runner, self._watch(seeded), until=trainings[-1])

    def measure(self, row: Row) -> Measured:
        """A row's counts at what the choosing split says is best."""
        place = choice(list(self._scores(row.experiment)))
        reported, found = row.on(self.request.reported_on), []
        threshold: float | None = None
        for score in self._scores(reported):
            found.append((score.ids, score.parts if place is None else score.parts_over(place)))
            threshold = None if place is None else float(score.thresholds[place])
        names = _common([ids for ids, _ in found])
        parts = np.stack([_ordered(counts, ids, names) for ids, counts in found])
        return Measured(row, names, parts, threshold, self._spent(reported, self.request.seeds))

    def oracle(self, trials: Sequence[TrialRow]) -> StudyRow:
        """The best that a trial reaches at any threshold, chosen with the ground truth that it is scored on."""
        best: StudyRow | None = None
        for trial in trials:
            experiment = self.request.experiment.with_changes(trial.changes, "oracle")
            reported = Row(ORACLE, experiment, "", trial.number).on(self.request.reported_on)
            score = next(self._scores(reported))
            place = choice([score])
            value = float(mean_iou(score.table) if place is None else score.curve[place])
            if best is None or best.miou is None or 100 * value > best.miou:
                best = StudyRow(
                    row=ORACLE,
                    method=self.request.experiment.method.name,
                    trial=trial.number,
                    miou=100 * value,
                    threshold=None if place is None else float(score.thresholds[place]),
                    seconds=self._spent(reported, 1),
                )
        assert best is not None
        return best

    def evaluations(self, folder: StudyFolder, trials: Sequence[TrialRow]) -> dict[str, int]:
        """Split -> how often this study was evaluated on its ground truth: once for each score of a trial, a row or the
        oracle, for each rung, and for each setting searched within a trial. Call it last."""
        chosen_on = self.request.experiment.data.score_list
        scores = {chosen_on: {key for trial in trials for key in trial.scores}}
        for split, keys in self._read.items():
            scores.setdefault(split, set()).update(keys)
        found = {split: len(keys) for split, keys in scores.items()}
        found[chosen_on] += sum(len(trial.rungs) for trial in trials) + evaluations(folder.folder)
        return found

    def _spent(self, experiment: Experiment, seeds: int) -> float | None:
        """The mean over random seeds; None where it is not known any more, as a score outlives its training."""
        try:
            return fmean(seconds(experiment.of_seed(offset), self.request.store) for offset in range(seeds))
        except InputError:
            return None

    def _watch(self, seeded: Experiment) -> OnEvent:
        return interruptible(lambda event: self.on_event(SharedStage(event)), self.asked, seeded)

    def _scores(self, experiment: Experiment) -> Iterator[Score]:
        """Of each random seed, one in memory at a time."""
        for offset in range(self.request.seeds):
            seeded = experiment.of_seed(offset)
            run(seeded, self.request.store, self.runner, self._watch(seeded))
            self._read.setdefault(seeded.data.score_list, set()).add(seeded.key)
            yield read_score(seeded, self.request.store, "the study")


def choice(scores: Sequence[Score]) -> int | None:
    """The number of the threshold at which the mean of the sweeps over random seeds is best; None where the masks as
    made are better still."""
    made = fmean(float(mean_iou(score.table)) for score in scores)
    curve = np.mean([score.curve for score in scores], axis=0)
    if np.isnan(curve).all():
        return None
    place = int(np.nanargmax(curve))
    return None if made > curve[place] else place


def _compared(one: Measured, first: Measured, ids: Sequence[str]) -> StudyRow:
    counts = _ordered(one.parts, one.ids, ids)
    known: dict[str, Any] = {
        "row": one.row.name,
        "method": one.row.label,
        "trial": one.row.trial,
        "threshold": one.threshold,
        "seconds": None if one.seconds is None else round(one.seconds, 1),
    }
    miou = float(np.mean(mean_iou_of_parts(counts.sum(1).astype(np.float64))))
    if one is first:
        return StudyRow(**known, miou=100 * miou)
    gap = compare_seeds(counts, _ordered(first.parts, first.ids, ids), mean_iou_of_parts).difference
    return StudyRow(**known, miou=100 * miou, difference=100 * gap.value, low=100 * gap.low, high=100 * gap.high)


def _common(lists: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The ids that are in all lists, in the order of the first: images may fail in one row or with one random seed."""
    common = set(lists[0]).intersection(*lists[1:])
    return tuple(name for name in lists[0] if name in common)


def _ordered(parts: NDArray[np.int64], had: Sequence[str], ids: Sequence[str]) -> NDArray[np.int64]:
    """Counts [..., N, 3, C + 1] of the images `had` as those of `ids`."""
    place = {name: number for number, name in enumerate(had)}
    return parts[..., [place[name] for name in ids], :, :]


def _overlap(request: StudyRequest) -> bool:
    """Whether an image that chose is among those that are reported: splits of other names may share some."""
    data = request.experiment.dataset
    return not set(data.split(request.experiment.data.score_list).ids).isdisjoint(data.split(request.reported_on).ids)
