"""`score RUN --rule RULE`: a background rule solved on the stored counts of a scored run, for all or some images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsss_platform.api.runners import runner
from wsss_platform.api.runs import load_run
from wsss_platform.config.supervision import Knowledge, joined
from wsss_platform.errors import InputError, unknown
from wsss_platform.masks.rules import alpha_of_threshold
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.protocol import Protocol, Selection, protocol
from wsss_platform.run.documents import RuleResult, RuleSubset, SubsetScore
from wsss_platform.run.pipeline import read_score
from wsss_platform.run.records import read_record
from wsss_platform.run.saliency_sweep import saliency_artefact, sweep_saliency
from wsss_platform.scores.bootstrap import bootstrap
from wsss_platform.scores.confusion import mean_iou_of_parts
from wsss_platform.scores.counts import read_saliencies
from wsss_platform.scores.per_class import fit
from wsss_platform.scores.saliency import Pairs, saliency_histogram, saliency_parts
from wsss_platform.scores.score import Score
from wsss_platform.scores.subset import subset
from wsss_platform.store.artefacts import Store

RULES = ("constant", "power", "per-class", "saliency")


@dataclass(frozen=True)
class Solved:
    """A rule's best setting on the fitted split."""

    words: str
    """For the protocol, such as "constant 0.215"."""
    setting: dict[str, Any]
    """Plain values."""
    curve: dict[str, Any]
    """Mean IoU of the fitted split at every setting; empty where there are too many (per-class)."""


def by_rule(
    store: Store,
    run: str,
    *,
    rule: str | None,
    fitted_on: str | None,
    subsets: Sequence[str],
    score_list: str | None = None,
    changes: Mapping[str, Any] | None = None,
    config: Path | None = None,
    local: bool = False,
) -> RuleResult:
    """What a rule's best setting gives beside the masks as made, per subset, with intervals.

    The setting is the best on `fitted_on`; on the scored list itself, the default, that is an oracle. Without a rule it
    is "constant"; masks without maps are counted as made.

    Raises:
        InputError: an unknown rule, split or subset, a split without a score, or no saliency.
    """
    if rule is not None and rule not in RULES:
        raise unknown("rule (--rule)", rule, RULES)
    selection = read_record(store, run).protocol.selection
    experiment, name = load_run(store, run, score_list, changes, config)
    score = read_score(experiment, store, f"run {name!r}")
    if rule is None and fitted_on is None and not len(score.thresholds):
        return RuleResult(
            run=name,
            rule="none",
            fitted_on=experiment.data.score_list,
            oracle=False,
            words="masks as made",
            setting={},
            protocol=protocol(experiment, selection=selection),
            subsets=tuple(_row(text, score, None) for text in subsets),
            curve={},
        )
    rule = rule or "constant"
    fitted, fitted_score = experiment, score
    if fitted_on not in (None, experiment.data.score_list):
        fitted, fitted_name = load_run(store, run, fitted_on, changes, config)
        fitted_score = read_score(fitted, store, f"run {fitted_name!r}")
    score.check_swept()
    fitted_score.check_swept()
    if rule == "saliency":
        solved, found = _saliency(experiment, fitted, store, score, local)
    else:
        if not np.array_equal(score.thresholds, fitted_score.thresholds):
            raise InputError(f"the sweeps of {experiment.data.score_list} and {fitted_on} have other thresholds")
        solved, index = _threshold_rule(rule, fitted_score)
        found = score.parts_over(index)
    stamped = _stamped(experiment, fitted, solved.words, selection)
    return RuleResult(
        run=name,
        rule=rule,
        fitted_on=fitted.data.score_list,
        oracle=fitted.data.score_list == experiment.data.score_list,
        words=solved.words,
        setting=solved.setting,
        protocol=stamped,
        subsets=tuple(_row(text, score, found) for text in subsets or ("all",)),
        curve=solved.curve,
    )


def _threshold_rule(rule: str, score: Score) -> tuple[Solved, int | NDArray[np.int64]]:
    """A rule of thresholds, and the number of the best one, or of each class's."""
    thresholds = [float(str(value)) for value in score.thresholds]
    best = score.best
    if rule == "constant":
        curve = {"threshold": thresholds, "mean_iou": [_plain(value) for value in score.curve]}
        return Solved(f"constant {thresholds[best]:g}", {"threshold": thresholds[best]}, curve), best
    if rule == "power":
        inner = [index for index, value in enumerate(score.thresholds) if 0 < value < 1][::-1]  # ascending alphas
        values = score.curve[inner]
        best = inner[int(np.nanargmax(values))]
        curve = {
            "alpha": [alpha_of_threshold(float(score.thresholds[index])) for index in inner],
            "mean_iou": [_plain(value) for value in values],
        }
        alpha = alpha_of_threshold(float(score.thresholds[best]))
        return Solved(f"(1 - max)^{alpha:.4g}", {"alpha": alpha, "threshold": thresholds[best]}, curve), best
    index = fit(score.histogram)
    setting = {name: thresholds[place] for name, place in zip(score.classes, index, strict=True)}
    return Solved("a threshold per class", setting, {}), index


def _saliency(
    experiment: Experiment, fitted: Experiment, store: Store, score: Score, local: bool
) -> tuple[Solved, NDArray[np.int64]]:
    """The best floor and cut on the fitted split, and the scored split's counts per image there, in score order."""
    folders = [_saliency_folder(which, store, local) for which in (fitted, experiment)]
    total: NDArray[np.int64] | None = None
    pairs: Pairs | None = None
    for chunk in read_saliencies(folders[0]):
        pairs = chunk.pairs
        sizes = (len(chunk.classes), len(pairs.floors), len(pairs.cuts))
        counts = saliency_histogram([chunk.cells], *sizes)
        total = counts if total is None else total + counts
    assert total is not None
    assert pairs is not None
    values = mean_iou_of_parts(saliency_parts(total))
    if np.isnan(values).all():
        raise InputError(f"{folders[0]}: no image has a scored pixel")
    floor, cut = (int(place) for place in np.unravel_index(np.nanargmax(values), values.shape))
    setting = {
        "saliency_floor": float(str(pairs.floors[floor])),
        "saliency_cut": int(pairs.cuts[cut]),
        "conflict_level": pairs.conflict_level,
    }
    curve = {
        "saliency_floor": [float(str(value)) for value in pairs.floors],
        "saliency_cut": pairs.cuts.tolist(),
        "mean_iou": [[_plain(value) for value in row] for row in values],
    }
    words = f"saliency > {setting['saliency_cut']}, floor {setting['saliency_floor']:g}"
    place = {name: row for row, name in enumerate(score.ids)}
    rows = np.zeros((len(score.ids), 3, len(score.classes) + 1), np.int64)
    for chunk in read_saliencies(folders[1]):
        rows[[place[name] for name in chunk.ids]] = chunk.parts(floor, cut)
    return Solved(words, setting, curve), rows


def _saliency_folder(experiment: Experiment, store: Store, local: bool) -> Path:
    """The counted sweep; Ray, or this process, only where it has to be counted."""
    if (found := saliency_artefact(experiment, store)) is not None:
        return found.folder
    with runner(local=local, workers=1, gpus_per_worker=0) as engine:
        return sweep_saliency(experiment, store, engine).folder


def _stamped(experiment: Experiment, fitted: Experiment, words: str, selection: Selection) -> Protocol:
    """The protocol of the maps under a swept rule: the rule, the ground truth it was fitted on, and no CRF."""
    listed = fitted.data.score_list
    oracle = " (oracle: the ground truth it is scored on)" if listed == experiment.data.score_list else ""
    base = protocol(experiment, selection=selection)
    chosen: Selection = "train ground truth" if listed == experiment.data.train_list else "val ground truth"
    if selection == "val ground truth":
        chosen = "val ground truth"  # what chose the run's other settings has seen it already
    supervision = base.supervision
    if words.startswith("saliency"):
        used = Knowledge(kind="saliency", hash=experiment.saliency_fingerprint(experiment.data.score_list)[:12])
        supervision = joined(supervision, (used,))
    return base.model_copy(
        update={
            "background": f"swept: {words}, fitted on {listed}{oracle}",
            "crf": "none",
            "selection": chosen,
            "supervision": supervision,
        }
    )


def _row(text: str, score: Score, parts: NDArray[np.int64] | None) -> RuleSubset:
    chosen = subset(text, score.parts, score.classes)
    masks, rule = _interval(score.parts[chosen]), None if parts is None else _interval(parts[chosen])
    return RuleSubset(subset=text, images=int(chosen.sum()), masks=masks, rule=rule)


def _interval(counts: NDArray[np.int64]) -> SubsetScore:
    found = bootstrap(counts)
    return SubsetScore(mean_iou=found.value, low=found.low, high=found.high)


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
