"""The leaderboard: runs grouped by protocol, ranked inside a group and never across groups.

Runs that differ only in the seed are one row with mean and spread; one seed is called one seed. Of a
study only the best trial stands in the table, with the number of trials it was chosen from.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from wsss_platform.plan.protocol import Protocol
from wsss_platform.run.records import RunRecord, Scores


@dataclass(frozen=True)
class Row:
    """One configuration's results under one protocol. IoU is 0..1, means are over seeds."""

    rank: int
    """From 1 inside its group, by the mean at the fixed background; equal means share a rank."""
    runs: tuple[str, ...]
    """Names, by seed."""
    method: str
    """Its name."""
    seeds: tuple[int, ...]
    """Distinct, ascending. Of two runs with one seed the later counts."""
    mean_iou: float
    """At the config's own background rule."""
    spread: float | None
    """Sample standard deviation over seeds; None for one seed."""
    best: float | None
    """Best of the background sweep: an oracle that saw the ground truth."""
    best_spread: float | None
    """Sample standard deviation over seeds; None for one seed."""
    thresholds: tuple[float, ...]
    """Where the sweep was best, by seed."""
    images: int
    """Scored."""
    interval: tuple[float, float] | None
    """95 % bootstrap interval over images, of several seeds over images and seeds; None where the counts of one are no
    longer stored."""
    selection: str
    """Which ground truth chose something; a study's best trial says out of how many."""
    trials: int | None
    """Finished trials of the study that this row is the best of."""
    seconds: float
    """Mean wall time of a run, all its stages counted."""
    date: str
    """ISO 8601 day of the last of its runs."""
    per_class: dict[str, float | None]
    """Class name -> IoU at the fixed background."""
    commit: str | None
    """Of the code of its first run, with "+" where it had changes."""
    command: str
    """That made its first run."""


@dataclass(frozen=True)
class Group:
    """Rows that may be compared."""

    key: str
    """`Protocol.group()`."""
    protocol: Protocol
    rows: tuple[Row, ...]


def rows(
    records: Iterable[RunRecord],
    *,
    all_trials: bool = False,
    interval: Callable[[Sequence[RunRecord]], tuple[float, float] | None] = lambda runs: None,
) -> list[Group]:
    """Group and rank finished, scored records; groups ordered by data, splits and key.

    Args:
        records: any records; those without a score are passed over.
        all_trials: show every trial of a study, not only its best.
        interval: of the runs of a row with several seeds, from their counts; one run has its own.
    """
    groups: defaultdict[str, list[tuple[RunRecord, Scores]]] = defaultdict(list)
    for record in records:
        if record.status == "finished" and record.scores is not None:
            groups[record.protocol.group()].append((record, record.scores))
    made = []
    for key, scored in groups.items():
        unranked = [_row(runs, trials, interval) for runs, trials in _configurations(scored, all_trials)]
        unranked.sort(key=lambda row: (-row.mean_iou, row.runs))
        means = [row.mean_iou for row in unranked]
        ranked = [replace(row, rank=1 + means.index(row.mean_iou)) for row in unranked]
        made.append(Group(key, scored[0][0].protocol, tuple(ranked)))
    return sorted(made, key=lambda group: (group.protocol.data, group.protocol.score_list, group.key))


Scored = list[tuple[RunRecord, Scores]]


def _configurations(scored: Scored, all_trials: bool) -> list[tuple[Scored, int | None]]:
    """Records of one row each, and out of how many trials it was chosen."""
    seeds: defaultdict[str, dict[int, tuple[RunRecord, Scores]]] = defaultdict(dict)
    studies: defaultdict[str, Scored] = defaultdict(list)
    for record, scores in sorted(scored, key=lambda item: (item[0].started, item[0].name)):
        if record.kind == "trial" and not all_trials:
            studies[record.study or ""].append((record, scores))
        else:
            seeds[f"{record.study or ''} {record.config_key}"][record.seed] = (record, scores)
    found: list[tuple[Scored, int | None]] = [([runs[seed] for seed in sorted(runs)], None) for runs in seeds.values()]
    for runs_of_study in studies.values():
        trials: defaultdict[str, Scored] = defaultdict(list)
        for record, scores in runs_of_study:  # a trial of several seeds is NAME, NAME-seed1, ...
            trials[re.sub(r"(-\d{4,})-seed\d+$", r"\1", record.name)].append((record, scores))
        best = max(trials.values(), key=_objective)
        found.append((sorted(best, key=lambda item: item[0].seed), len(trials)))
    return found


def _objective(runs: Scored) -> float:
    """What chose a trial: the study's objective, or without one the masks' mean."""
    record, _ = runs[0]
    return fmean(scores.fixed.mean_iou for _, scores in runs) if record.objective is None else record.objective


def _row(
    runs: Scored, trials: int | None, interval: Callable[[Sequence[RunRecord]], tuple[float, float] | None]
) -> Row:
    first, first_scores = runs[0]
    fixed = [scores.fixed.mean_iou for _, scores in runs]
    best = [scores.best for _, scores in runs if scores.best is not None]
    names = list(dict.fromkeys(name for _, scores in runs for name in scores.fixed.per_class))
    chosen = "" if trials is None else f", best of {trials} {'trial' if trials == 1 else 'trials'}"
    return Row(
        rank=0,
        runs=tuple(record.name for record, _ in runs),
        method=first.method,
        seeds=tuple(record.seed for record, _ in runs),
        mean_iou=fmean(fixed),
        spread=stdev(fixed) if len(fixed) > 1 else None,
        best=fmean(score.mean_iou for score in best) if best else None,
        best_spread=stdev(score.mean_iou for score in best) if len(best) > 1 else None,
        thresholds=tuple(score.threshold for score in best),
        images=first.protocol.score_images,
        interval=first_scores.fixed.interval if len(runs) == 1 else interval([record for record, _ in runs]),
        selection=first.protocol.selection + chosen,
        trials=trials,
        seconds=fmean(sum(record.seconds.values()) for record, _ in runs),
        date=max((record.finished or record.started)[:10] for record, _ in runs),
        per_class={name: _mean([scores.fixed.per_class.get(name) for _, scores in runs]) for name in names},
        commit=first.commit,
        command=first.command,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
