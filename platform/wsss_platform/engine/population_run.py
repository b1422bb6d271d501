"""`tune --scheduler pbt`: a population on Ray Tune, its members in the study's journal.

Nothing of Ray's own state is taken up again. The same call plays the whole population once more: every segment,
judgement and score that is in the store is found there by its key, and as all draws follow from the seed the members
come to where they were and go on.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import TrialState
from ray import tune as ray_tune

from wsss_platform.engine.events import OnStudyEvent, TrialEpoch, TrialRung, TrialStarted, Warned
from wsss_platform.engine.halting import Halt
from wsss_platform.engine.lineage import Lineage, write_schedule
from wsss_platform.engine.member import EPOCH, SCORE, MemberPlan, note_death, of_schedule, train_member
from wsss_platform.engine.population import NAN, first_values
from wsss_platform.engine.population_scheduler import SeededPopulation
from wsss_platform.engine.request import StudyRequest
from wsss_platform.engine.runner import RayRunner
from wsss_platform.engine.searcher import distribution
from wsss_platform.engine.study import FINISHED, StudyFolder
from wsss_platform.environment import environment
from wsss_platform.errors import RunError
from wsss_platform.retention import LARGE
from wsss_platform.search.space import Axis, CategoricalAxis, choice_label
from wsss_platform.sharing import Withholding
from wsss_platform.stages import EpochEnd

SEGMENTS = "segments"
"""Note of a member: content keys of the trainings that it ended before the last epoch, also those it gave up."""
_LENIENT = {"TUNE_DISABLE_STRICT_METRIC_CHECKING": "1"}
"""Tune without its demand that every report has the scheduler's metric: those of epochs have none."""


def run_population(
    request: StudyRequest,
    folder: StudyFolder,
    memory: int,
    on_event: OnStudyEvent,
    on_finish: Callable[[int], None],
    halt: Halt,
) -> None:
    """Train a study's population to its end, or to where the study ends early.

    Args:
        request: with a population; `trials` is its number of members.
        folder: the study's, whose driver this process must be.
        memory: bytes of each node's "memory" that a running member reserves: how many run at once.
        on_event: told what goes on. Tune pickles it.
        on_finish: told the number of each member that has been closed.
        halt: whether the study ends early.

    Raises:
        RunError: Tune ended before all members did.
    """
    population = request.population
    assert population is not None
    plan = MemberPlan(
        experiment=request.experiment,
        storage=request.store.root,
        study=folder.folder,
        runner=request.runner or RayRunner(request.workers, request.gpus_per_worker, request.cpus_per_worker),
        population=population,
        pictures=request.rung_pictures,
        retries=request.retries,
        mirror=None if request.store.mirror is None else Withholding(request.store.mirror, LARGE),
        max_failures=request.store.max_failures,
    )
    journal = Journal(request, folder, on_event, on_finish, halt)
    first = [
        {"number": number, "values": json.dumps(first_values(request.space, request.experiment, request.seed, number))}
        for number in range(population.members)
    ]
    scratch = folder.folder / "ray"
    shutil.rmtree(scratch, ignore_errors=True)
    trainable = ray_tune.with_resources(
        ray_tune.with_parameters(train_member, plan=plan), ray_tune.PlacementGroupFactory([{"memory": memory}])
    )
    with environment(_LENIENT):
        ray_tune.Tuner(
            trainable,
            param_space={"member": ray_tune.grid_search(first)},
            tune_config=ray_tune.TuneConfig(
                scheduler=SeededPopulation(population, request.space, request.seed, halt),
                reuse_actors=True,  # the next segment finds the packages imported
                trial_dirname_creator=lambda trial: f"member-{trial.config['member']['number']:04d}-{trial.trial_id}",
            ),
            run_config=ray_tune.RunConfig(
                name="members",
                storage_path=str(scratch),
                verbose=0,
                failure_config=ray_tune.FailureConfig(max_failures=request.retries),
                callbacks=[journal],
            ),
        ).fit()
    shutil.rmtree(scratch, ignore_errors=True)
    done = len(folder.finished())
    if halt.wanted:
        return
    if done < population.members:
        ended = f"the population ended with {done} of {population.members} members finished"
        if journal.died is None:
            raise RunError(f"{ended}; run it again")
        raise RunError(
            f"{ended}: member {journal.died}'s process died more often than it is retried; run it again, it goes "
            "on with that member among the failed"
        )


def drop_segments(request: StudyRequest, folder: StudyFolder) -> int:
    """Delete what only a population that goes on needs: all segments but the last ones, with their checkpoints.

    Those that are gone already are passed over, so an end that was cut short is made up for by the next call.

    Returns:
        How many were deleted.
    """
    dropped = 0
    for trial in folder.study.get_trials(deepcopy=False):
        for key in trial.user_attrs.get(SEGMENTS, ()):
            reason = f"study {request.name} is over; member {trial.number} has trained on"
            dropped += request.store.remove("train", key, reason)
    return dropped


class Journal(ray_tune.Callback):
    """Writes what Tune tells of the members to the study, and tells it on."""

    def __init__(
        self,
        request: StudyRequest,
        folder: StudyFolder,
        on_event: OnStudyEvent,
        on_finish: Callable[[int], None],
        halt: Halt,
    ) -> None:
        self._experiment = request.experiment
        self._study, self._folder, self._on_event, self._on_finish = folder.study, folder.folder, on_event, on_finish
        self._halt = halt
        self._seconds: dict[int, float] = {}
        self._begun_with: dict[int, list[dict[str, Any]]] = {}
        self.died: int | None = None
        self._open(request)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks into its own records, where nobody reads them."""
        return {}

    def _open(self, request: StudyRequest) -> None:
        """The members as trials of the study, each with the values that it begins with."""
        assert request.population is not None
        axes = {axis.path: axis for axis in request.space.axes}
        for number in range(len(self._study.get_trials(deepcopy=False)), request.population.members):
            values = first_values(request.space, request.experiment, request.seed, number)
            self._study.enqueue_trial({path: _param(axes[path], value) for path, value in values.items()})
        self._study.sampler = optuna.samplers.RandomSampler(seed=request.seed)  # all values are given
        distributions = {path: distribution(axis) for path, axis in axes.items()}
        while self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self._study.ask(distributions)

    def _trial(self, number: int) -> optuna.Trial | None:
        """A member's trial while it is open."""
        frozen = self._study.get_trials(deepcopy=False)[number]
        return None if frozen.state in FINISHED else optuna.Trial(self._study, frozen._trial_id)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Passes a Ctrl-C on to the members."""
        self._halt.look()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """One report of a member."""
        number = int(trial.config["member"]["number"])
        match result.get("event"):
            case "segment":
                self._begun(number, json.loads(result["schedule"]))
            case "epoch":
                self._on_event(TrialEpoch(number, result["phase"], EpochEnd(**result["end"])))
            case "warned":
                self._on_event(Warned(result["message"]))
            case "judged":
                self._judged(number, result)
            case "finished":
                write_schedule(self._folder, number, Lineage.from_json(result["lineage"]))
                self._close(number, result, result.get("objective"), None)
            case "failed":
                self._close(number, result, None, str(result["reason"]))
            case "halted":  # it stays open, and the next call takes it over
                self._halt.ask(str(result["fault"]))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A member's process died for good."""
        self.died = int(trial.config["member"]["number"])
        if self.died in self._begun_with:
            note_death(self._folder, self.died, self._begun_with[self.died])

    def _begun(self, number: int, schedule: list[dict[str, Any]]) -> None:
        open_trial = self._trial(number)
        if open_trial is None or self._begun_with.get(number) == schedule:
            return
        self._begun_with[number] = schedule
        open_trial.set_user_attr("changes", {"schedule": schedule})
        self._on_event(TrialStarted(number, {"schedule": schedule}))

    def _judged(self, number: int, result: dict[str, Any]) -> None:
        epoch, score = int(result[EPOCH]), float(result[SCORE])
        self._seconds[number] = self._seconds.get(number, 0.0) + float(result["seconds"])
        lineage, open_trial = Lineage.from_json(result["lineage"]), self._trial(number)
        write_schedule(self._folder, number, lineage)
        if score == NAN or open_trial is None:
            return
        key = of_schedule(self._experiment, lineage.schedule()).stage("train").key
        if key not in open_trial.user_attrs.get(SEGMENTS, ()):
            open_trial.set_user_attr(SEGMENTS, [*open_trial.user_attrs.get(SEGMENTS, ()), key])
        if epoch not in self._study.get_trials(deepcopy=False)[number].intermediate_values:
            open_trial.report(score, step=epoch)
        self._on_event(TrialRung(number, epoch, score))

    def _close(self, number: int, result: dict[str, Any], objective: float | None, reason: str | None) -> None:
        open_trial = self._trial(number)
        if open_trial is None:  # it ended in an earlier call
            return
        seconds = round(self._seconds.get(number, 0.0) + float(result["seconds"]), 3)
        for name, value in {**result, "seconds": seconds}.items():
            known = name in ("key", "fixed", "threshold", "seconds")
            if known and value is not None and not (isinstance(value, float) and not math.isfinite(value)):
                open_trial.set_user_attr(name, value)
        if reason is None and (objective is None or not math.isfinite(objective)):
            reason = f"the objective is {objective}"
        if reason is None:
            self._study.tell(number, objective)
        else:
            open_trial.set_user_attr("reason", reason)
            self._study.tell(number, state=TrialState.FAIL)
        self._on_finish(number)


def _param(axis: Axis, value: Any) -> Any:
    """A value of an axis as a parameter of Optuna's; a default outside of its axis as the nearest value on it."""
    if isinstance(axis, CategoricalAxis):
        return choice_label(tuple(value) if isinstance(value, list) else value)
    return axis.nearest(value)


def slot(nodes: list[dict[str, Any]], at_once: int) -> int:
    """Bytes of a node's "memory" for one running member, so that about `at_once` of them run in the whole cluster.

    Tune limits concurrent trials only where a search algorithm proposes them; with one that pauses, resources do.
    With more than nine a node one more may start, which then waits for its workers.
    """
    least = min(float(node["Resources"].get("memory", 0.0)) for node in nodes)
    each = -(-at_once // len(nodes))
    return max(1, int(0.9 * least / each))
