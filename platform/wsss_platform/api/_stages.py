"""Continue a recorded run: CAMs, pseudo masks, score; of another split, or with other settings of a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_platform.api._defaults import RunOptions, wandb_mode
from wsss_platform.api._run import Run, run_of
from wsss_platform.api._train import PlannedRun
from wsss_platform.config.options import check

if TYPE_CHECKING:
    from wsss_platform.run.documents import RuleResult, RunDifference


def plan_stage(
    until: str,
    run: Run | str,
    settings: Mapping[str, Any] | str | Path | None = None,
    *,
    split: str | None = None,
    config: Path | None = None,
    storage: str | Path | None = None,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    local: bool = True,
    max_failures: int = 0,
    wandb: str | None = "disabled",
) -> PlannedRun:
    """What `maps`, `masks` and `score` do before they start.

    Args:
        until: the stage to end with.
        run: a run, or its name.
        settings: dotted path -> value.
        split: scored one; None: the run's own.
        config: file of settings, below `settings`.
        storage: of a run that is given by name.
        workers: processes that make chunks, where `local` is False; None: what there is room for.
        gpus_per_worker: of those.
        local: this process alone, without Ray.
        max_failures: images that may fail.
        wandb: mode of tracking.
    """
    from wsss_platform.api import experiments
    from wsss_platform.api.runs import last_stage, load_run
    from wsss_platform.plan.protocol import strongest
    from wsss_platform.run.records import read_record
    from wsss_platform.store.artefacts import Store

    check(RunOptions, {"workers": workers, "gpus_per_worker": gpus_per_worker, "max_failures": max_failures})
    named, place = run_of(run, storage)
    store = Store(place, max_failures)
    if isinstance(settings, str | Path):
        config, settings = Path(settings), None
    experiment, name = load_run(store, named, split, settings or {}, config)
    return PlannedRun(
        experiment=experiment,
        store=store,
        name=name,
        until=last_stage(experiment, until),
        local=local,
        gpus_per_worker=gpus_per_worker,
        producers=workers,
        wandb=wandb_mode(wandb),
        selection=strongest(experiments.chosen_with(config), read_record(store, named).protocol.selection),
    )


def _go_on(until: str, progress: bool, **given: Any) -> Run:
    """Continue a run to a stage; `given` are arguments of `plan_stage`, and workers None is this process alone."""
    planned = plan_stage(until, local=given["workers"] is None, **given)
    return replace(planned, command=(f"wsss.{until}", planned.name)).run(progress)


def maps(
    run: Run | str,
    *,
    split: str | None = None,
    settings: Mapping[str, Any] | str | Path | None = None,
    storage: str | Path | None = None,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    max_failures: int = 0,
    progress: bool = True,
) -> Run:
    """Turn a run's weights into class activation maps (CAMs) of a split.

    Args:
        run: a run, or its name.
        split: such as "val"; None: the run's own.
        settings: of the maps, such as {"maps.scales": [1.0]}, or a TOML file of settings.
        storage: of a run that is given by name.
        workers: None makes them in this process, without Ray; 1 or more are processes on Ray.
        gpus_per_worker: with `workers`; None: 1 where there are GPUs.
        max_failures: images that may fail; they are listed with the reason.
        progress: bars and notes on standard error.

    Returns:
        The run with these maps; of another split or with other settings it has a name of its own.

    Raises:
        InputError: no such run, or settings that would train again.
    """
    return _go_on(
        "maps",
        progress,
        run=run,
        settings=settings,
        split=split,
        storage=storage,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        max_failures=max_failures,
    )


def masks(
    run: Run | str,
    *,
    split: str | None = None,
    settings: Mapping[str, Any] | str | Path | None = None,
    storage: str | Path | None = None,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    max_failures: int = 0,
    progress: bool = True,
) -> Run:
    """Turn a run's CAMs into pseudo masks, with another rule or CRF if asked for. Nothing is trained again.

    Args:
        run: a run, or its name.
        split: such as "val"; None: the run's own.
        settings: of maps and masks, such as {"masks.background": 0.3, "masks.crf": "irn"}, or a TOML file of settings,
            such as the `best` of a search.
        storage: of a run that is given by name.
        workers: None makes them in this process, without Ray; 1 or more are processes on Ray.
        gpus_per_worker: with `workers`; None: 1 where there are GPUs.
        max_failures: images that may fail; they are listed with the reason.
        progress: bars and notes on standard error.

    Returns:
        The run with these masks; of another split or with other settings it has a name of its own.

    Raises:
        InputError: no such run, or settings that would train again.
    """
    return _go_on(
        "masks",
        progress,
        run=run,
        settings=settings,
        split=split,
        storage=storage,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        max_failures=max_failures,
    )


def score(
    run: Run | str,
    *,
    split: str | None = None,
    settings: Mapping[str, Any] | str | Path | None = None,
    storage: str | Path | None = None,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    max_failures: int = 0,
    wandb: str | None = None,
    progress: bool = True,
) -> Run:
    """Score a run's CAMs at every background threshold, and its pseudo masks, against ground truth.

    Args:
        run: a run, or its name.
        split: such as "val"; None: the run's own.
        settings: of maps and masks: dotted path -> value, or a TOML file of settings.
        storage: of a run that is given by name.
        workers: None counts in this process, without Ray; 1 or more are processes on Ray.
        gpus_per_worker: with `workers`; None: 1 where there are GPUs.
        max_failures: images that may fail; what is scored then is another protocol.
        wandb: mode of tracking.
        progress: bars and notes on standard error.

    Returns:
        The run; `.score` has the numbers.

    Raises:
        InputError: no such run, or settings that would train again.
    """
    return _go_on(
        "score",
        progress,
        run=run,
        settings=settings,
        split=split,
        storage=storage,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        max_failures=max_failures,
        wandb=wandb,
    )


def score_rule(
    run: Run | str,
    rule: str | None = None,
    *,
    subsets: Sequence[str] = (),
    fitted_on: str | None = None,
    split: str | None = None,
    settings: Mapping[str, Any] | str | Path | None = None,
    storage: str | Path | None = None,
    local: bool = True,
) -> RuleResult:
    """Solve a background rule on a run's stored counts: the best setting, and what it gives beside the masks as made.

    Args:
        run: a scored run, or its name.
        rule: "constant", "power", "per-class" or "saliency"; None: "constant", and of masks without maps no rule.
        subsets: count only these images, such as "class=cat", "object=small", "object=0.05..0.25" (share of the image),
            "image=0..150000" (pixels) or "all"; one row each.
        fitted_on: the split that chooses the setting; None: the scored one, which makes the result an oracle.
        split: the scored one; None: the run's own.
        settings: of the masks: dotted path -> value, or a TOML file.
        storage: of a run that is given by name.
        local: count saliency in this process, where that has not been done yet.

    Returns:
        `.setting`, `.subsets` with intervals (0..1), `.protocol`, `.curve`.

    Raises:
        InputError: an unknown rule, split or subset, a run without a score, or no saliency maps.
    """
    from wsss_platform.api.background_rules import by_rule
    from wsss_platform.store.artefacts import Store

    named, place = run_of(run, storage)
    config = Path(settings) if isinstance(settings, str | Path) else None
    changes = None if isinstance(settings, str | Path) else settings
    return by_rule(
        Store(place),
        named,
        rule=rule,
        subsets=subsets,
        fitted_on=fitted_on,
        score_list=split,
        changes=changes,
        config=config,
        local=local,
    )


def score_difference(first: Run | str, second: Run | str, *, storage: str | Path | None = None) -> RunDifference:
    """The difference of two scored runs on the same images, with a paired bootstrap interval.

    Args:
        first: a scored run, or its name.
        second: another one.
        storage: of runs that are given by name.

    Returns:
        `.masks` (as made) and `.best` (each where its sweep is best; None where one has
        no maps): values, difference and interval, 0..1.

    Raises:
        InputError: a run without a score, or runs scored on different images.
    """
    from wsss_platform.api.runs import load_run
    from wsss_platform.run.documents import RunDifference
    from wsss_platform.run.pipeline import read_score
    from wsss_platform.scores.score import paired_bootstrap
    from wsss_platform.store.artefacts import Store

    named = [run_of(run, storage) for run in (first, second)]
    a, b = (read_score(load_run(Store(place), name)[0], Store(place), f"run {name!r}") for name, place in named)
    swept = len(a.thresholds) and len(b.thresholds)
    masks, best = paired_bootstrap(a, b, "masks"), paired_bootstrap(a, b, "best") if swept else None
    return RunDifference(first=named[0][0], second=named[1][0], masks=masks, best=best)
