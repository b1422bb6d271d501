"""A study as figures: Optuna's own plots, and what failed and why."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill, shorten
from typing import Any

import optuna
from matplotlib.figure import Figure
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from wsss_platform.errors import InputError, unknown
from wsss_platform.run.scrub import scrub
from wsss_platform.run.trial_rows import TrialRow
from wsss_platform.tune.objectives import ACCURACY, MEMORY, SECONDS

TOP = 0.1
"""Share of the complete trials that count as good ones for the importance. Optuna's default."""
ESTIMATOR = (
    f"PED-ANOVA (Watanabe et al., IJCAI 2023; Optuna's PedAnovaImportanceEvaluator): how far each axis alone sets the "
    f"best {TOP:.0%} of the complete trials apart; shares add up to 1. With fewer than about 50 trials it is a hint."
)
"""Which estimator the importance comes from."""
PAIRS = 4
"""Axes in the figures of pairs: the most important ones."""
UNITS = {ACCURACY: "accuracy, 0..1", SECONDS: "seconds as if nothing had been stored", MEMORY: "peak memory, GiB"}


def draw(
    study: optuna.Study,
    rows: Sequence[TrialRow],
    folder: Path,
    on_skip: Callable[[str], None] = lambda message: None,
) -> tuple[list[tuple[str, str, Path]], list[str]]:
    """Draw a study's figures.

    Args:
        study: to be drawn.
        rows: its table.
        folder: where PNG files go.
        on_skip: called with the figure that could not be drawn, and why (too few trials, a missing package).

    Returns:
        (name, caption, file) of each figure, and what `on_skip` was called with.
    """
    drawn: list[tuple[str, str, Path]] = []
    skipped: list[str] = []
    for name, (caption, figure_of) in _figures(study, rows).items():
        path = folder / f"{name}.png"
        try:
            with _plain_pyplot():
                figure = figure_of()
                figure.savefig(path, dpi=110, bbox_inches="tight")
        except Exception as error:  # noqa: BLE001  # whatever a plot raises, the study is done and its table waits
            skipped.append(f"{name}.png was not drawn: {type(error).__name__}: {error}")
            on_skip(skipped[-1])
            continue
        drawn.append((name, caption, path))
    return drawn, skipped


def figure(study: optuna.Study, rows: Sequence[TrialRow], name: str) -> Figure:
    """One of a study's figures.

    Args:
        study: to be drawn.
        rows: its table.
        name: such as "importance".

    Raises:
        InputError: no such figure of this study (with the nearest name), or one that it has too few trials for.
    """
    figures = _figures(study, rows)
    if name not in figures:
        raise unknown("figure of a study", name, figures)
    try:
        with _plain_pyplot():
            return figures[name][1]()
    except Exception as error:
        raise InputError(f"{name}: cannot be drawn of this study: {type(error).__name__}: {error}") from error


def importance(study: optuna.Study) -> dict[str, float]:
    """Share of each axis, largest first, by `ESTIMATOR`; empty before there are two different complete trials."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({trial.values[0] for trial in complete}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        target = _target(study, sign=-1).get("target")
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=TOP), target=target)


def left_out(study: optuna.Study) -> str:
    """A sentence on the axes without an importance: those that some complete trial has not, as they are conditional."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    every = {name for trial in complete for name in trial.params}
    common = set.intersection(*(set(trial.params) for trial in complete)) if complete else set()
    missing = ", ".join(sorted(every - common))
    return f" Not among them, as not every trial has it: {missing}." if missing else ""


def failure_figure(rows: Sequence[TrialRow]) -> Figure:
    """The failed trials with their reasons, as a figure of text.

    Raises:
        ValueError: none failed.
    """
    lines = [
        fill(f"trial {item.number}: {shorten(scrub(item.reason or 'no reason'), 400)}", 110, subsequent_indent="    ")
        for item in rows
        if item.state == "fail"
    ]
    if not lines:
        raise ValueError("no trial failed")
    text = f"{len(lines)} of {len(rows)} trials failed\n\n" + "\n".join(lines)
    figure = Figure(figsize=(9, 0.5 + 0.17 * (text.count("\n") + 1)))
    figure.text(0.01, 0.98, text, va="top", family="monospace", fontsize=8, parse_math=False)
    return figure


def _target(study: optuna.Study, sign: int = 1) -> dict[str, Any]:
    """What Optuna's figures of one number need to show the accuracy of a study of several objectives.

    Args:
        study: to be drawn.
        sign: -1 for importance, which takes what it is given as a cost.
    """
    if len(study.directions) == 1:
        return {}
    return {"target": lambda trial: sign * trial.values[0], "target_name": ACCURACY}


def _figures(study: optuna.Study, rows: Sequence[TrialRow]) -> Mapping[str, tuple[str, Callable[[], Figure]]]:
    """name -> what it shows and how to draw it."""
    from optuna.visualization import matplotlib as plots

    target = _target(study)

    def sized(axes: Any, width: float = 9, height: float = 5) -> Figure:
        first = axes if hasattr(axes, "figure") else axes.flat[0]
        figure: Figure = first.figure
        figure.set_size_inches(width, height)
        return figure

    def several() -> list[str]:
        """The most important axes; at least two, or a figure of pairs says nothing."""
        known = list(importance(study))[:PAIRS]
        if len(known) < 2:
            raise ValueError("it needs two axes and two different complete trials")
        return known

    def contour(params: list[str]) -> Any:
        if importlib.util.find_spec("scipy") is None:  # Optuna 5.0 would end in a NameError
            raise ImportError("it interpolates with scipy, which is not installed; rank.png shows the same pairs")
        return plots.plot_contour(study, params=params, **target)

    figures: dict[str, tuple[str, Callable[[], Figure]]] = {
        "history": (
            "Every trial's objective, and the best so far.",
            lambda: sized(plots.plot_optimization_history(study, **target)),
        ),
        "importance": (
            ESTIMATOR + left_out(study),
            lambda: sized(
                plots.plot_param_importances(
                    study, evaluator=PedAnovaImportanceEvaluator(target_quantile=TOP), **_target(study, sign=-1)
                )
            ),
        ),
        "parallel": (
            "Each line is a complete trial.",
            lambda: sized(plots.plot_parallel_coordinate(study, **target), 11),
        ),
        "contour": (
            f"The objective over pairs of the {PAIRS} most important axes, interpolated between the trials (dots). It "
            "needs the package scipy.",
            lambda: sized(contour(several()), 11, 10),
        ),
        "rank": (
            "The same pairs without interpolation: each complete trial, coloured by its rank (1 is the best).",
            lambda: sized(plots.plot_rank(study, params=several(), **target), 11, 10),
        ),
    }
    if target and study.best_trials:
        names = [UNITS[name] for name in study.metric_names or ()]
        figures["front"] = (
            "Accuracy against cost. Best trials are the Pareto front: no other trial is at least as good in everything "
            "and better in something. All other figures show the accuracy.",
            lambda: sized(plots.plot_pareto_front(study, target_names=names), 9, 6),
        )
    if any(item.rungs for item in rows):
        figures["rungs"] = (
            "What early stopping saw: the sweep's best on a few images, by finished epochs.",
            lambda: sized(plots.plot_intermediate_values(study)),
        )
    if any(item.state == "fail" for item in rows):
        figures["failures"] = ("Failed trials and why.", lambda: failure_figure(rows))
    return figures


@contextmanager
def _plain_pyplot() -> Iterator[None]:
    """Optuna draws through pyplot and changes its style for good; here both end with the figure."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.style.context("default"), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.simplefilter("ignore", UserWarning)
        try:
            yield
        finally:
            pyplot.close("all")
