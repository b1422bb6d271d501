"""Ray Tune asks, Optuna answers: a searcher straight over one journalled Optuna study.

Why not `ray.tune.search.optuna.OptunaSearch` (2.60 with optuna 5.0): a NaN objective leaves its trial
RUNNING for ever, a search created again on an existing study enqueues its points again, restoring after
a killed driver raises UpdateFinishedTrialError, trials asked after the last snapshot stay as zombies, and
stopped trials count as COMPLETE. Here the journal is the only state, so there is nothing to restore:
trials that a dead driver left RUNNING are taken over under their own number with their own parameters.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import TrialState
from ray.tune.search import Searcher

from wsss_platform.config import MethodConfig, look_up
from wsss_platform.search.space import CategoricalAxis, FloatAxis, IntAxis, SearchSpace, choice_label
from wsss_platform.store.artefacts import write_atomic
from wsss_platform.tune.gpu_hours import GpuClock
from wsss_platform.tune.halting import Halt
from wsss_platform.tune.objectives import ACCURACY, REPORTED, SINGLE
from wsss_platform.tune.options import StudyOptions
from wsss_platform.tune.search_algorithm import check_sampler, make_sampler
from wsss_platform.tune.study import StudyFolder

TAKEOVERS = 3
"""A trial that was taken over so often without finishing one more epoch is given up: it may be what kills its
driver."""


def distribution(axis: FloatAxis | IntAxis | CategoricalAxis) -> BaseDistribution:
    """An axis as Optuna samples it; lists among the choices become their JSON text."""
    if isinstance(axis, FloatAxis):
        return FloatDistribution(axis.low, axis.high, log=axis.log)
    if isinstance(axis, IntAxis):
        return IntDistribution(axis.low, axis.high, log=axis.log, step=axis.step)
    return CategoricalDistribution([choice_label(choice) for choice in axis.choices])


def changes_of(space: SearchSpace, params: Mapping[str, Any]) -> dict[str, Any]:
    """Optuna's parameters as values for the config."""
    values = space.values(lambda axis: axis.value(params[axis.path]))
    return {path: list(value) if isinstance(value, tuple) else value for path, value in values.items()}


def default_params(space: SearchSpace, config: MethodConfig) -> tuple[dict[str, Any], list[str]]:
    """The default config as a point of the space, and the axes that do not contain it.

    Trial 0 runs exactly the default config; where a default lies outside its axis the sampler is given
    the axis's nearest value.
    """
    values = space.values(lambda axis: look_up(config, axis.path))
    params: dict[str, Any] = {
        axis.path: axis.parameter(values[axis.path]) for axis in space.axes if axis.path in values
    }
    numbers = [axis.path for axis in space.axes if axis.path in values and not isinstance(axis, CategoricalAxis)]
    return params, [path for path in numbers if not math.isclose(params[path], values[path], rel_tol=1e-12)]


class StudySearcher(Searcher):
    """Gives Tune the next trial of a study and writes to the journal what became of it.

    A trial's draw depends on the seed, its number and the finished trials alone, so a study that was
    killed continues as if it had not been (exactly so with one trial at a time).
    """

    def __init__(
        self,
        folder: StudyFolder,
        space: SearchSpace,
        config: MethodConfig,
        options: StudyOptions,
        *,
        pruner: BasePruner | None = None,
        started: float | None = None,
        on_finish: Callable[[int], None] = lambda number: None,
        halt: Halt | None = None,
    ) -> None:
        """
        Args:
            folder: the study, whose driver this process must be.
            space: what is sampled.
            config: the default config, which is trial 0.
            options: of the study: its algorithm with its random seed, objectives and budget.
            pruner: decides at each rung whether a trial stops early; None never stops one.
            started: when the hours of the budget began, by `time.monotonic`; None: now.
            on_finish: called with the number of each trial that has been closed.
            halt: ends the study early.
        """
        super().__init__()  # naming a metric would make Tune demand it in every report
        self._folder, self._space, self._config = folder, space, config
        self._study = folder.study
        self._distributions = {axis.path: distribution(axis) for axis in space.axes}
        self._seed, self._on_finish, self._halt = options.search.sampler_seed or 0, on_finish, halt
        self.why_died: Callable[[str], str] = lambda trial_id: "out of memory?"
        self._objectives, limits = options.objective.names, options.budget.limits
        self._gpu_clock = GpuClock(self._study, options.resources.gpus_per_trial, limits.gpu_hours)
        self._sampler = check_sampler(options.search.sampler, len(self._objectives))
        started = time.monotonic() if started is None else started
        self._until = math.inf if limits.hours is None else started + 3600 * limits.hours
        self._study.pruner = pruner or optuna.pruners.NopPruner()
        self._live: dict[str, optuna.Trial] = {}
        self._reached: dict[str, set[tuple[str, int]]] = {}
        self._orphans = [
            trial.number for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        ]  # what a dead driver left running, oldest first
        if not self._study.get_trials(deepcopy=False):
            params, _ = default_params(space, config)
            self._study.enqueue_trial(params, user_attrs={"default": True})

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher into its own records, where nobody reads it: a database's password stays out."""
        return {}

    def _take_over(self) -> optuna.Trial | None:
        """The next trial that a dead driver left running; hopeless ones are failed."""
        while self._orphans:
            number = self._orphans.pop(0)
            trial = optuna.Trial(self._study, self._study.get_trials(deepcopy=False)[number]._trial_id)
            times = int(trial.user_attrs.get("takeovers", 0)) + 1
            trial.set_user_attr("takeovers", times)
            if times <= TAKEOVERS:
                return trial
            trial.set_user_attr("reason", f"its driver died {times} times before it had finished one more epoch")
            self._study.tell(number, state=TrialState.FAIL)
        return None

    @property
    def out_of_time(self) -> bool:
        """Whether no trial starts any more, as the hours are over."""
        return time.monotonic() >= self._until

    @property
    def out_of_gpu_hours(self) -> bool:
        """Whether no trial starts any more, as the GPU-hours are used up."""
        return self._gpu_clock.over

    def started(self, trial_id: str) -> None:
        """A trial has got its place in the cluster; it holds its GPUs from now on."""
        if trial_id in self._live and trial_id not in self._reached:
            self._gpu_clock.start(self._live[trial_id])

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The next trial as Tune's config: {"number": int, "changes": JSON text of path -> value}."""
        if self.out_of_time or self.out_of_gpu_hours or (self._halt is not None and self._halt.look()):
            return Searcher.FINISHED  # type: ignore[return-value]  # Tune's word for "no more" is a text
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            trial = self._next()
        changes = {} if trial.user_attrs.get("default") else changes_of(self._space, trial.params)
        trial.set_user_attr("changes", changes)
        self._live[trial_id] = trial
        self._gpu_clock.start(trial)
        return {"number": trial.number, "changes": json.dumps(changes)}

    def _next(self) -> optuna.Trial:
        orphan = self._take_over()
        if orphan is not None:
            self._study.sampler = self._sampler_of(orphan.number)
            return self._draw(orphan)  # keeps what is stored, draws what a crash cut off
        self._study.sampler = self._sampler_of(len(self._study.get_trials(deepcopy=False)))
        if self._space.conditional:
            return self._draw(self._study.ask())
        return self._study.ask(self._distributions)

    def _sampler_of(self, number: int) -> BaseSampler:
        return make_sampler(self._sampler, self._seed, number, conditional=self._space.conditional)

    def _draw(self, trial: optuna.Trial) -> optuna.Trial:
        """Draw axis by axis, each only where it exists beside what was drawn before."""
        self._space.values(lambda axis: axis.value(trial._suggest(axis.path, self._distributions[axis.path])))
        return trial

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A rung was reached: report it to Optuna, and ask whether the trial stops. (Tune hands over flat results.)"""
        trial = self._live.get(trial_id)
        if trial is not None and result.get("event") == "epoch":
            self._advanced(trial_id, trial, (str(result["phase"]), int(result["end/epoch"])))
        if trial is None or result.get("event") != "rung":
            return
        value, epoch = result.get("value"), int(result["epoch"])
        if value is None or not math.isfinite(value):
            return
        if epoch not in self._study.get_trials(deepcopy=False)[trial.number].intermediate_values:
            trial.report(value, step=epoch)
        if not trial.user_attrs.get("default") and trial.should_prune():
            write_atomic(self._folder.stop_file(trial.number), str(epoch))

    def _advanced(self, trial_id: str, trial: optuna.Trial, epoch: tuple[str, int]) -> None:
        """A trial that gets on is no danger to its driver. (Epochs of earlier drivers are reported again.)"""
        reached = self._reached.setdefault(trial_id, set())
        reached.add(epoch)
        self._gpu_clock.note(trial)
        if len(reached) > int(trial.user_attrs.get("epochs", 0)):
            trial.set_user_attr("epochs", len(reached))
            if trial.user_attrs.get("takeovers"):
                trial.set_user_attr("takeovers", 0)

    def changes(self, trial_id: str) -> dict[str, Any]:
        """What a running trial changes in the default config."""
        trial = self._live.get(trial_id)
        return {} if trial is None else dict(trial.user_attrs["changes"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Close the trial in the journal: complete, stopped early, or failed with a reason."""
        trial = self._live.pop(trial_id, None)
        if trial is None:
            return
        result = dict(result or {})
        if result.get("event") == "halted":
            if self._halt is not None:
                self._halt.ask(str(result["fault"]))
            with suppress(OSError):  # the journal lies on the disk that is at fault
                self._gpu_clock.end(trial)
                _hand_over(trial)
            return
        for name in (
            "key",
            "fixed",
            "threshold",
            "seconds",
            "trace",
            "train_key",
            "attempts",
            "spread",
            "each",
            "keys",
            "settings",
        ):
            value = result.get(name)
            if value is not None and not (isinstance(value, float) and not math.isfinite(value)):
                trial.set_user_attr(name, value)
        self._gpu_clock.end(trial)
        if "inner" in result:  # from now on the best setting is part of what the trial changes
            trial.set_user_attr("changes", {**trial.user_attrs["changes"], **json.loads(result["inner"])})
        state, values, reason = _verdict(result, error, self._objectives)
        if error:
            reason = f"{reason}: {self.why_died(trial_id)}"
        if reason:
            trial.set_user_attr("reason", reason)
        self._study.tell(trial, values, state=state)
        self._on_finish(trial.number)

    @contextmanager
    def handing_over(self) -> Iterator[None]:
        """What runs when the user stops this process goes to the next one; that counts nothing against a trial."""
        try:
            yield
        except KeyboardInterrupt:
            for trial in self._live.values():
                self._gpu_clock.note(trial)
                _hand_over(trial)
            raise

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """A study is continued by a new searcher on its folder, never by Tuner.restore."""
        raise NotImplementedError("open the study's folder again instead")


def _hand_over(trial: optuna.Trial) -> None:
    """Its next takeover is not because its driver died."""
    trial.set_user_attr("takeovers", int(trial.user_attrs.get("takeovers", 0)) - 1)


def _verdict(
    result: dict[str, Any], error: bool, objectives: Sequence[str] = SINGLE
) -> tuple[TrialState, list[float] | None, str | None]:
    """What a trial's last report means: its state, its objectives, and the reason of a bad end."""
    if error:
        return TrialState.FAIL, None, "the trial's process died more often than it is retried"
    if result.get("event") == "stopped":
        return TrialState.PRUNED, None, f"stopped early at epoch {result['epoch']}"
    if result.get("event") == "failed":
        return TrialState.FAIL, None, str(result.get("reason") or "failed without a reason")
    values: list[float] = []
    for name in objectives:
        value = result.get(REPORTED[name])
        if value is None or not math.isfinite(value):
            what = "objective" if name == ACCURACY else name
            return TrialState.FAIL, None, f"the {what} is {'missing' if value is None else value}"
        values.append(float(value))
    return TrialState.COMPLETE, values, None
