"""Ray Tune asks, Optuna answers: a searcher straight over one journalled Optuna study.

Why not `ray.tune.search.optuna.OptunaSearch` (2.60 with optuna 5.0): a NaN objective leaves its trial
RUNNING for ever, a search created again on an existing study enqueues its points again, restoring after
a killed driver raises UpdateFinishedTrialError, trials asked after the last snapshot stay as zombies, and
stopped trials count as COMPLETE. Here the journal is the only state, so there is nothing to restore:
trials that a dead driver left RUNNING are taken over under their own number with their own parameters.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner
from optuna.trial import TrialState
from ray.tune.search import Searcher

from wsss_platform.config import MethodConfig, look_up
from wsss_platform.engine.study import StudyFolder
from wsss_platform.space import CategoricalAxis, FloatAxis, IntAxis, SearchSpace, choice_label
from wsss_platform.store import write_atomic

TAKEOVERS = 3
"""A trial that was running when its driver died this many times is given up: it may be what kills it."""


def distribution(axis: FloatAxis | IntAxis | CategoricalAxis) -> BaseDistribution:
    """An axis as Optuna samples it; lists among the choices become their JSON text."""
    if isinstance(axis, FloatAxis):
        return FloatDistribution(axis.low, axis.high, log=axis.log)
    if isinstance(axis, IntAxis):
        return IntDistribution(axis.low, axis.high, log=axis.log, step=axis.step)
    return CategoricalDistribution([choice_label(choice) for choice in axis.choices])


def changes_of(space: SearchSpace, params: Mapping[str, Any]) -> dict[str, Any]:
    """Optuna's parameters as values for the config."""
    changes: dict[str, Any] = {}
    for axis in space.axes:
        value = params[axis.path]
        if isinstance(axis, CategoricalAxis):
            value = next(choice for choice in axis.choices if same(choice_label(choice), value))
        changes[axis.path] = list(value) if isinstance(value, tuple) else value
    return changes


def same(one: Any, other: Any) -> bool:
    """Equal, and True is not 1."""
    return type(one) is type(other) and one == other


def default_params(space: SearchSpace, config: MethodConfig) -> tuple[dict[str, Any], list[str]]:
    """The default config as a point of the space, and the axes that do not contain it.

    Trial 0 runs exactly the default config; where a default lies outside its axis the sampler is told
    the axis's nearest value.
    """
    params: dict[str, Any] = {}
    outside: list[str] = []
    for axis in space.axes:
        value = look_up(config, axis.path)
        if isinstance(axis, CategoricalAxis):
            params[axis.path] = next(choice_label(choice) for choice in axis.choices if choice == value)
            continue
        params[axis.path] = axis.nearest(value)
        if not math.isclose(params[axis.path], value, rel_tol=1e-12):
            outside.append(axis.path)
    return params, outside


class StudySearcher(Searcher):
    """Gives Tune the next trial of a study and writes to the journal what became of it.

    A trial's draw depends on the seed, its number and the finished trials alone, so a study that was
    killed goes on as if it had not been (exactly so with one trial at a time).
    """

    def __init__(
        self,
        folder: StudyFolder,
        space: SearchSpace,
        config: MethodConfig,
        *,
        seed: int,
        pruner: BasePruner | None = None,
        on_finish: Callable[[int], None] = lambda number: None,
    ) -> None:
        """
        Args:
            folder: the study, whose driver this process must be.
            space: what is sampled.
            config: the default config, which is trial 0.
            seed: of the sampler.
            pruner: decides at each rung whether a trial stops early; None never stops one.
            on_finish: told the number of each trial that has been closed.
        """
        super().__init__()  # naming a metric would make Tune demand it in every report
        self._folder, self._space, self._config = folder, space, config
        self._study = folder.study
        self._distributions = {axis.path: distribution(axis) for axis in space.axes}
        self._seed, self._on_finish = seed, on_finish
        self._study.pruner = pruner or optuna.pruners.NopPruner()
        self._live: dict[str, optuna.Trial] = {}
        self._orphans = self._take_over()
        if not self._study.get_trials(deepcopy=False):
            params, _ = default_params(space, config)
            self._study.enqueue_trial(params, user_attrs={"default": True})

    def _take_over(self) -> list[int]:
        """Numbers of the trials a dead driver left running, oldest first; hopeless ones are failed."""
        orphans = []
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            times = int(trial.user_attrs.get("takeovers", 0)) + 1
            self._study._storage.set_trial_user_attr(trial._trial_id, "takeovers", times)
            if times > TAKEOVERS:
                reason = f"its driver died {times} times while it ran"
                self._study._storage.set_trial_user_attr(trial._trial_id, "reason", reason)
                self._study.tell(trial.number, state=TrialState.FAIL)
            else:
                orphans.append(trial.number)
        return orphans

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The next trial as Tune's config: {"number": int, "changes": JSON text of path -> value}."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            trial = self._next()
        changes = {} if trial.user_attrs.get("default") else changes_of(self._space, trial.params)
        trial.set_user_attr("changes", changes)
        self._live[trial_id] = trial
        return {"number": trial.number, "changes": json.dumps(changes)}

    def _next(self) -> optuna.Trial:
        if self._orphans:
            number = self._orphans.pop(0)
            self._study.sampler = self._sampler(number)
            trial = optuna.Trial(self._study, self._study.get_trials(deepcopy=False)[number]._trial_id)
            for path, kind in self._distributions.items():  # keeps what is stored, draws what a crash cut off
                trial._suggest(path, kind)
            return trial
        self._study.sampler = self._sampler(len(self._study.get_trials(deepcopy=False)))
        return self._study.ask(self._distributions)

    def _sampler(self, number: int) -> optuna.samplers.TPESampler:
        """A fresh sampler for one trial: TPE of several variables at once, and running trials count as bad."""
        digest = hashlib.sha256(f"{self._seed} {number}".encode()).digest()
        return optuna.samplers.TPESampler(
            seed=int.from_bytes(digest[:4], "big"),
            multivariate=True,
            constant_liar=True,
        )

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A rung was reached: tell Optuna, and ask whether the trial stops here."""
        trial = self._live.get(trial_id)
        if trial is None or result.get("event") != "rung":
            return
        value, epoch = result.get("value"), int(result["epoch"])
        if value is None or not math.isfinite(value):
            return
        if epoch not in self._study.get_trials(deepcopy=False)[trial.number].intermediate_values:
            trial.report(value, step=epoch)
        if not trial.user_attrs.get("default") and trial.should_prune():
            write_atomic(self._folder.stop_file(trial.number), str(epoch))

    def changes(self, trial_id: str) -> dict[str, Any]:
        """What a running trial changes in the default config."""
        changes: dict[str, Any] = self._live[trial_id].user_attrs["changes"]
        return changes

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Close the trial in the journal: complete, stopped early, or failed with a reason."""
        trial = self._live.pop(trial_id, None)
        if trial is None:
            return
        result = result or {}
        for name in ("key", "fixed", "threshold", "seconds", "trace", "train_key", "attempts", "proxies"):
            value = result.get(name)
            if value is not None and not (isinstance(value, float) and not math.isfinite(value)):
                trial.set_user_attr(name, value)
        state, value, reason = _verdict(result, error)
        if reason:
            trial.set_user_attr("reason", reason)
        self._study.tell(trial, value, state=state)
        self._on_finish(trial.number)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """A study is continued by a new searcher on its folder, never by Tuner.restore."""
        raise NotImplementedError("open the study's folder again instead")


def _verdict(result: dict[str, Any], error: bool) -> tuple[TrialState, float | None, str | None]:
    """What a trial's last report means: its state, its objective, and the reason of a bad end."""
    if error:
        return TrialState.FAIL, None, "the trial's process died more often than it is retried (out of memory?)"
    if result.get("event") == "stopped":
        return TrialState.PRUNED, None, f"stopped early at epoch {result['epoch']}"
    if result.get("event") == "failed":
        return TrialState.FAIL, None, str(result.get("reason") or "failed without a reason")
    value = result.get("objective")
    if value is None or not math.isfinite(value):
        return TrialState.FAIL, None, f"the objective is {'missing' if value is None else value}"
    return TrialState.COMPLETE, float(value), None
