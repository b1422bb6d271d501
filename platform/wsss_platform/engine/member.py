"""A member of a population: a Tune function that trains segment after segment and is judged at the end of each.

Its big state stays in the store, where each segment is an artefact under the key of its lineage; Tune's checkpoint only
says which lineage the member is. A member is paused or made a copy of another one only while it waits at the end of a
segment, so no training is killed, and what Ray Train held for it is free by then.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ray import tune

from wsss_platform.data.part import part_name
from wsss_platform.disk import fault_behind
from wsss_platform.engine.halting import halt_file
from wsss_platform.engine.lineage import Grown, Lineage, ends
from wsss_platform.engine.population import NAN, Population
from wsss_platform.engine.study import BEST
from wsss_platform.engine.trial import NotAppliedError, best_of, check_applied, pooled, quick_look
from wsss_platform.errors import InputError, RunError
from wsss_platform.experiment import Experiment, Stage, is_cached
from wsss_platform.interrupts import Interrupted, interruptible
from wsss_platform.local_runner import LocalRunner
from wsss_platform.pipeline import Event, OnEvent, StageProgress, run
from wsss_platform.sharing import Shared, Sharing, Withholding
from wsss_platform.stages import Runner
from wsss_platform.store import Store, write_atomic

EPOCH, SCORE = "judged_epoch", "judged_score"
"""What Ray's scheduler looks at in a report: finished epochs, and the score there."""
LINEAGE = "lineage.json"
"""In Tune's checkpoint of a member."""
DIED = "its process died more often than it is retried (out of memory?)"
"""Why a member failed whose process, not its training, was at fault."""


class DiskFaultError(Exception):
    """A full or read-only disk is behind a failure: no member's fault."""


@dataclass(frozen=True)
class MemberPlan:
    """What all members have in common; picklable."""

    experiment: Experiment
    """The default config's."""
    storage: Path
    study: Path
    """The study's folder."""
    runner: Runner
    population: Population
    pictures: int
    """Of the scored list, on which members are judged."""
    retries: int
    """How often a segment that failed is tried again."""
    mirror: Withholding | None = None
    """Where its stages are shared with other stores."""
    max_failures: int = 0
    """Pictures that may fail in a stage."""

    @property
    def epochs(self) -> int:
        """Of the last phase."""
        return self.experiment.train_config(self.experiment.phases[-1]).epochs

    def to_come(self, done: int) -> tuple[int, ...]:
        """Ends of the segments after `done` epochs."""
        return ends(done, self.population.interval, self.epochs)

    def store(self, experiment: Experiment) -> Store:
        """The store for a run; segments that another one follows stay here, as they hold checkpoints and are dropped
        at the end."""
        if self.mirror is None:
            return Store(self.storage, self.max_failures)
        followed = {one.key for one in experiment.stages if one.segment and one.segment.until < self.epochs}
        return Store(self.storage, self.max_failures, replace(self.mirror, keys=frozenset(followed)))


def train_member(config: dict[str, Any], plan: MemberPlan) -> None:
    """Tune's trainable. Every way it can end is a report; only a dying process is left to Tune.

    Args:
        config: {"member": {"number": int, "values": JSON text of dotted path -> value}}.
        plan: what all members have in common.
    """
    number, values = int(config["member"]["number"]), json.loads(config["member"]["values"])
    try:
        end = _lived(plan, number, values)
    except Interrupted:
        end = {"event": "halted", "fault": ""}
    except DiskFaultError as error:
        end = {"event": "halted", "fault": str(error)}
    except OSError as error:  # of Tune's own files
        fault = fault_behind(str(error), plan.storage)
        if fault is None:
            raise
        end = {"event": "halted", "fault": fault}
    tune.report(end)


def _lived(plan: MemberPlan, number: int, values: Mapping[str, Any]) -> dict[str, Any]:
    """A member's trainings from where it is; its last report.

    Raises:
        Interrupted: the study ends early.
        DiskFaultError: nothing can be stored.
    """
    lineage, seconds = _restored(), 0.0
    numbers: dict[str, Any] = {}
    for until in plan.to_come(lineage.epoch):
        if halt_file(plan.study).exists():
            raise Interrupted
        ahead = plan.to_come(lineage.epoch)
        schedule = json.dumps(lineage.schedule(ahead, values))
        tune.report({"event": "segment", "schedule": schedule})
        if _died_in(plan.study, number) == json.loads(schedule):  # in an earlier call; it would again
            lineage = replace(lineage, failed=DIED)
        started = time.monotonic()
        lineage, numbers = _grow(plan, lineage, number, values, until)
        seconds = round(time.monotonic() - started, 3)
        if until < plan.epochs:
            _hand_in(lineage, seconds)
    if lineage.failed is not None:
        return {"event": "failed", "reason": lineage.failed, "seconds": seconds}
    return {"event": "finished", "lineage": lineage.to_json(), **numbers, "seconds": seconds}


def note_death(study: Path, number: int, schedule: list[dict[str, Any]]) -> None:
    """Write down that a member's process died for good while it trained by a schedule.

    The run ends there, as the others would wait for it; the next one counts the member among the failed.
    """
    place = study / "died" / f"{number:04d}.json"
    place.parent.mkdir(exist_ok=True)
    write_atomic(place, json.dumps(schedule))


def _died_in(study: Path, number: int) -> list[dict[str, Any]] | None:
    """The schedule that a member's process died of; None when it did not."""
    try:
        found: list[dict[str, Any]] = json.loads((study / "died" / f"{number:04d}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def _restored() -> Lineage:
    """Where this member goes on: its own lineage, or that of the one it copies."""
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return Lineage()
    with checkpoint.as_directory() as folder:
        return Lineage.from_json((Path(folder) / LINEAGE).read_text(encoding="utf-8"))


def _hand_in(lineage: Lineage, seconds: float) -> None:
    """Report the end of a segment; Tune may pause the member here, and start it again as a copy of another."""
    score = None if lineage.failed is not None else lineage.grown[-1].score
    report = {EPOCH: lineage.epoch, SCORE: NAN if score is None else score}
    with tempfile.TemporaryDirectory(prefix="wsss-member-") as folder:
        write_atomic(Path(folder) / LINEAGE, lineage.to_json())
        checkpoint = tune.Checkpoint.from_directory(folder)
        said = {"event": "judged", "lineage": lineage.to_json(), "seconds": seconds}
        tune.report({**said, **report}, checkpoint=checkpoint)


def _grow(
    plan: MemberPlan, lineage: Lineage, number: int, values: Mapping[str, Any], until: int
) -> tuple[Lineage, dict[str, Any]]:
    """One segment further: trained and judged, or after the last one scored as a whole; the numbers of the latter."""
    reason = lineage.failed
    for _ in range(plan.retries + 1 if reason is None else 0):
        try:
            experiment = of_schedule(plan.experiment, lineage.schedule([until], values))
            if until == plan.epochs:
                _train(plan, experiment, values)
                return lineage.with_next(Grown(until, values, number, None)), _scored(plan, experiment)
            score = _judged(plan, experiment, values)
            return lineage.with_next(Grown(until, values, number, score if math.isfinite(score) else None)), {}
        except Interrupted:
            raise
        except Exception as error:  # whatever a method raises is this member's failure, not the study's
            reason = str(error) if isinstance(error, InputError | RunError) else f"{type(error).__name__}: {error}"
            fault = fault_behind(reason, plan.storage)
            if fault is not None:
                raise DiskFaultError(fault) from error
            if isinstance(error, InputError | NotAppliedError):  # would fail the same way again
                break
    return replace(lineage, epoch=until, failed=(reason or "")[:2000]), {}


def of_schedule(experiment: Experiment, schedule: list[dict[str, Any]]) -> Experiment:
    """The experiment with a schedule, which may end before the training does."""
    return experiment.with_changes({"schedule": schedule}, "member")


def _train(plan: MemberPlan, experiment: Experiment, values: Mapping[str, Any]) -> None:
    """Train the last segment of a schedule; those before it are in the store."""
    last = experiment.stage("train", experiment.phases[-1].name)
    run(experiment, plan.store(experiment), plan.runner, _watcher(plan, experiment, last, values), until=last)


def _watcher(plan: MemberPlan, experiment: Experiment, last: Stage, values: Mapping[str, Any]) -> OnEvent:
    """At the end of each epoch: prove what was applied, tell, and end when the study does."""
    in_force = experiment.of(last)

    def on_event(event: Event) -> None:
        if isinstance(event, Shared) and event.what == "failed":
            tune.report({"event": "warned", "message": event.words})
        if isinstance(event, StageProgress) and event.epoch is not None:
            if event.stage.key == last.key:
                check_applied(values, in_force, event.epoch)
            tune.report({"event": "epoch", "phase": event.stage.phase.name, "end": asdict(event.epoch)})

    return _ended_with(plan, experiment, on_event)


def _ended_with(plan: MemberPlan, experiment: Experiment, on_event: OnEvent = lambda event: None) -> OnEvent:
    return interruptible(on_event, halt_file(plan.study).exists, experiment)


def _scored(plan: MemberPlan, experiment: Experiment) -> dict[str, Any]:
    """The member's numbers at its end, as those of any trial."""
    outcome = run(experiment, plan.store(experiment), plan.runner, _ended_with(plan, experiment))
    assert outcome.score is not None
    return pooled([{"key": experiment.key, "score": outcome.score}], BEST)


def judging(experiment: Experiment, pictures: int) -> Experiment:
    """The experiment that judges the weights at the end of a schedule: on a few pictures of the scored list, at one
    scale, without flip and CRF, as a rung is."""
    name = part_name(experiment.data.score_list, "spread", pictures)
    data = experiment.data.model_copy(update={"score_list": name})
    return replace(quick_look(experiment, experiment.phases[-1]), data=data)


def _judged(plan: MemberPlan, experiment: Experiment, values: Mapping[str, Any]) -> float:
    """Best mean IoU 0..1 of the exact sweep over a few pictures; the score stays in the store, maps and masks go."""
    quick = judging(experiment, plan.pictures)
    store = plan.store(quick)
    Sharing(store).bring(quick.stages[-1])
    if not is_cached(quick.stages[-1], store):  # else an earlier call trained it, and may have dropped it since
        _train(plan, experiment, values)
    outcome = run(quick, store, LocalRunner())
    assert outcome.score is not None
    for stage in (quick.stage("maps"), quick.stage("masks")):
        store.remove(stage.kind, stage.key, "made to judge a member of a population")
    return best_of(outcome.score)[1]
