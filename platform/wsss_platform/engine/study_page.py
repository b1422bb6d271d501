"""A study as pictures and as one page: Optuna's own plots, the result, every trial, and what failed and why.

`study.html` holds everything in itself (no script, no link to the outside), so it can be mailed.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from textwrap import fill, shorten
from typing import Any

import optuna
from matplotlib.figure import Figure
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from wsss_platform.engine.objectives import ACCURACY, MEMORY, SECONDS
from wsss_platform.engine.report import REPORT
from wsss_platform.engine.study import TrialRow, read_json, table
from wsss_platform.store import write_atomic
from wsss_platform.tracking.scrub import scrub

PAGE = "study.html"
"""In the study's folder, beside one PNG per picture."""
TOP = 0.1
"""Share of the complete trials that count as good ones for the importance. Optuna's default."""
ESTIMATOR = (
    f"PED-ANOVA (Watanabe et al., IJCAI 2023; Optuna's PedAnovaImportanceEvaluator): how far each axis alone sets the "
    f"best {TOP:.0%} of the complete trials apart; shares add up to 1. With fewer than about 50 trials it is a hint."
)
"""Which estimator the importance comes from."""
PAIRS = 4
"""Axes in the pictures of pairs: the most important ones."""
UNITS = {ACCURACY: "accuracy, 0..1", SECONDS: "seconds as if nothing had been stored", MEMORY: "peak memory, GiB"}


def write_page(study: optuna.Study, folder: Path, on_skip: Callable[[str], None] = lambda message: None) -> list[Path]:
    """Draw a study's pictures and write its page.

    Args:
        study: to be drawn.
        folder: where PNG files and `study.html` go.
        on_skip: told which picture could not be drawn, and why (too few trials, a missing package).

    Returns:
        The files that were written, the page last.
    """
    rows = table(study)
    drawn: list[tuple[str, str, Path]] = []
    skipped: list[str] = []
    for name, (caption, draw) in _pictures(study, rows).items():
        path = folder / f"{name}.png"
        try:
            with _plain_pyplot():
                figure = draw()
                figure.savefig(path, dpi=110, bbox_inches="tight")
        except Exception as error:  # noqa: BLE001  # whatever a plot raises, the study is done and its table waits
            skipped.append(f"{name}.png was not drawn: {type(error).__name__}: {error}")
            on_skip(skipped[-1])
            continue
        drawn.append((name, caption, path))
    page = folder / PAGE
    write_atomic(page, _page(folder, rows, drawn, skipped))
    return [*(path for _, _, path in drawn), page]


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
    """The failed trials with their reasons, as a picture of text.

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
    """What Optuna's pictures of one number must be told to show the accuracy of a study of several objectives.

    Args:
        study: to be drawn.
        sign: -1 for importance, which takes what it is given as a cost.
    """
    if len(study.directions) == 1:
        return {}
    return {"target": lambda trial: sign * trial.values[0], "target_name": ACCURACY}


def _pictures(study: optuna.Study, rows: Sequence[TrialRow]) -> Mapping[str, tuple[str, Callable[[], Figure]]]:
    """name -> what it shows and how to draw it."""
    from optuna.visualization import matplotlib as plots

    target = _target(study)

    def sized(axes: Any, width: float = 9, height: float = 5) -> Figure:
        first = axes if hasattr(axes, "figure") else axes.flat[0]
        figure: Figure = first.figure
        figure.set_size_inches(width, height)
        return figure

    def several() -> list[str]:
        """The most important axes; at least two, or a picture of pairs says nothing."""
        known = list(importance(study))[:PAIRS]
        if len(known) < 2:
            raise ValueError("it needs two axes and two different complete trials")
        return known

    def contour(params: list[str]) -> Any:
        if importlib.util.find_spec("scipy") is None:  # Optuna 5.0 would end in a NameError
            raise ImportError("it interpolates with scipy, which is not installed; rank.png shows the same pairs")
        return plots.plot_contour(study, params=params, **target)

    pictures: dict[str, tuple[str, Callable[[], Figure]]] = {
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
        pictures["front"] = (
            "Accuracy against cost. Best trials are the Pareto front: no other trial is at least as good in everything "
            "and better in something. All other pictures show the accuracy.",
            lambda: sized(plots.plot_pareto_front(study, target_names=names), 9, 6),
        )
    if any(item.rungs for item in rows):
        pictures["rungs"] = (
            "What early stopping saw: the sweep's best on a few pictures, by finished epochs.",
            lambda: sized(plots.plot_intermediate_values(study)),
        )
    if any(item.state == "fail" for item in rows):
        pictures["failures"] = ("Failed trials and why.", lambda: failure_figure(rows))
    return pictures


@contextmanager
def _plain_pyplot() -> Iterator[None]:
    """Optuna draws through pyplot and changes its style for good; here both end with the picture."""
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


_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 0.6rem 0 1.6rem; font-size: 13px }
th, td { border-bottom: 1px solid #ddd; padding: 0.25rem 0.7rem; text-align: left; vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums }
img { max-width: 100% } figure { margin: 1.2rem 0 } figcaption, .quiet { color: #666; font-size: 13px }
"""


def _page(
    folder: Path, rows: Sequence[TrialRow], drawn: Sequence[tuple[str, str, Path]], skipped: Sequence[str]
) -> str:
    identity = read_json(folder / "study.json") if (folder / "study.json").is_file() else {}
    told = read_json(folder / REPORT) if (folder / REPORT).is_file() else None
    title = escape(f"Study {folder.name}")
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>',
        f"<h1>{title}</h1>",
        f"<p>{escape(_facts(identity, rows))}</p>",
    ]
    if told is not None:
        parts += ["<h2>Fixed, selected, oracle</h2>", _told(told)]
    for name, caption, path in drawn:
        data = base64.b64encode(path.read_bytes()).decode()
        parts.append(
            f'<figure><h2>{escape(name)}</h2><img alt="{escape(name)}" src="data:image/png;base64,{data}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    parts += [f'<p class="quiet">{escape(text)}</p>' for text in skipped]
    parts += ["<h2>Trials, best first</h2>", _trials(rows)]
    return "\n".join(parts) + "\n"


def _facts(identity: Mapping[str, Any], rows: Sequence[TrialRow]) -> str:
    states: dict[str, int] = {}
    for item in rows:
        states[item.state] = states.get(item.state, 0) + 1
    method = identity.get("method", ["?"])[0]
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    costs = identity.get("objectives", ())[1:]
    against = f", minimised beside it: {', '.join(costs)}" if costs else ""
    return (
        f"Method {method}; maximised: {identity.get('objective', '?')}{against}; pixel truth that chose: "
        f"{identity.get('selection', '?')}; {len(rows)} trials ({counted}); the sampler's seed "
        f"{identity.get('sampler_seed', '?')}."
    )


def _told(told: Mapping[str, Any]) -> str:
    lines = []
    for name in ("fixed", "selected", "oracle"):
        line = told[name]
        if line is not None:
            span = "" if line["interval"] is None else " .. ".join(f"{100 * value:.2f}" for value in line["interval"])
            lines.append([name, line["trial"], _percent(line["mean_iou"]), span, line["threshold"]])
    biased = " Selected was chosen with the truth of this very list, so it is optimistic." if told["biased"] else ""
    looks = ", ".join(f"{count} at {name}" for name, count in told["looks"].items())
    gap = told["difference"]
    paired = ""
    if gap is not None:
        low, high = 100 * gap["low"], 100 * gap["high"]
        paired = f" Selected - fixed: {100 * gap['value']:+.2f}, paired over pictures {low:+.2f} .. {high:+.2f}."
    words = (
        f"On {told['report_list']}, {told['pictures']} pictures, in percent.{biased} The oracle chooses with that "
        f"truth, over {told['oracle_over']} trials.{paired} Looks at pixel truth: {looks}."
    )
    return f"<p>{escape(words)}</p>" + _table(["what", "trial", "mean IoU", "95 %", "threshold"], lines)


def _trials(rows: Sequence[TrialRow]) -> str:
    ordered = sorted(rows, key=lambda item: (item.state != "complete", -(item.objective or 0), item.number))
    lines = [
        [
            item.number,
            item.state,
            _percent(item.objective),
            _percent(item.fixed),
            item.seconds,
            ", ".join(f"{path} = {_short(value)}" for path, value in item.changes.items()) or "the default config",
            scrub(item.reason or ""),
        ]
        for item in ordered
    ]
    names = list(next((item.values for item in rows if item.values), {}))[1:]
    for item, line in zip(ordered, lines, strict=True) if names else ():
        costs = [None if item.values is None else item.values[name] for name in names]
        line[5:5] = [*costs, "on the front" if item.front else ""]
    more = [*(f"own {name}" for name in names), "front"] if names else []
    return _table(["trial", "state", "objective", "masks", "seconds", *more, "changes", "reason"], lines)


def _table(headings: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    def cell(value: Any) -> str:
        number = isinstance(value, int | float)
        text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
        return f"<td{' class=number' if number else ''}>{escape(text)}</td>"

    head = "".join(f"<th>{escape(text)}</th>" for text in headings)
    body = "".join(f"<tr>{''.join(map(cell, line))}</tr>" for line in lines)
    return f"<table><tr>{head}</tr>{body}</table>"


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 2)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
