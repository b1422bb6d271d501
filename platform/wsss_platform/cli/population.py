"""The part of `tune` that is about populations: `--scheduler pbt`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from wsss_platform.cli.output import note
from wsss_platform.config import look_up
from wsss_platform.errors import InputError
from wsss_platform.experiment import Experiment
from wsss_platform.search.space import SearchSpace
from wsss_platform.selection import SelectionRule

if TYPE_CHECKING:
    from wsss_platform.engine.population import Population

Members = Annotated[
    int | None,
    typer.Option("--population", help="With pbt: members that train side by side. Default: 4.", min=2, metavar="N"),
]
Interval = Annotated[
    int | None,
    typer.Option("--interval", help="With pbt: epochs between two judgements. Default: 1.", min=1, metavar="EPOCHS"),
]

PICTURES = 32
"""On which a member is judged; the default of `StudyRequest.rung_pictures`."""


def read_population(
    scheduler: str, members: int | None, interval: int | None, given: Mapping[str, Any]
) -> Population | None:
    """What the options ask for; None without pbt.

    Args:
        scheduler: one of `brackets.SCHEDULERS`.
        members: `--population`.
        interval: `--interval`.
        given: other options by name, those that were given a value true.

    Raises:
        InputError: options that do not go together.
    """
    if scheduler != "pbt":
        for name, value in (("--population", members), ("--interval", interval)):
            if value is not None:
                raise InputError(f"{name} belongs to --scheduler pbt, got --scheduler {scheduler}")
        return None
    for name, value in given.items():
        if value:
            hint = "; the number of members is --population" if name == "--trials" else ""
            raise InputError(f"{name}: population based training takes no such setting{hint}")
    from wsss_platform.engine.population import Population

    asked = {name: value for name, value in (("members", members), ("interval", interval)) if value is not None}
    return Population(**asked)


def check_rule(population: Population | None, rule: SelectionRule) -> None:
    """InputError when a population would have no score to be judged by."""
    if population is not None:
        from wsss_platform.engine.population import check_scored

        check_scored(rule.kind == "none")


def moving(population: Population | None, experiment: Experiment, space: SearchSpace) -> SearchSpace:
    """The axes that a population moves; the others are told and held at the config's values. Without one: all.

    Raises:
        InputError: no axis may move, or nothing is ever judged.
    """
    if population is None:
        return space
    from wsss_platform.engine.brackets import first_judged
    from wsss_platform.engine.population import movable

    phase = experiment.phases[-1]
    epochs = experiment.train_config(phase).epochs
    if population.interval >= epochs:
        raise InputError(
            f"--interval {population.interval}: phase {phase.name!r} trains {epochs} epochs, so no member would "
            f"ever be judged; expected at most {epochs - 1}"
        )
    free, held = movable(experiment, space)
    for path, reason in held.items():
        note(f"{path} is held at the config's value: {reason}")
    first = first_judged(experiment, free)
    if population.interval < first:
        raise InputError(
            f"--interval {population.interval}: a part of phase {phase.name!r} waits for {phase.begins} = "
            f"{look_up(experiment.config, phase.begins):g} epochs; expected at least {first}"
        )
    return free


def plan(population: Population | None, experiment: Experiment) -> dict[str, Any]:
    """What a population does, for the plan; empty without one."""
    if population is None:
        return {}
    epochs = experiment.train_config(experiment.phases[-1]).epochs
    each = len(range(population.interval, epochs, population.interval))
    judged = {"epochs": epochs, "judgements": population.members * each, "pictures at most": PICTURES}
    return {"population": {**population.identity(), **judged}}


def plan_words(document: Mapping[str, Any]) -> list[str]:
    """The same in two lines; none without a population."""
    if "population" not in document:
        return []
    one = document["population"]
    each = one["judgements"] // one["members"]
    return [
        f"population: {one['members']} members, judged {each} times, every {one['interval']} of {one['epochs']} "
        f"epochs; the lower {one['quantile']:.0%} then copy one of the upper and move its values. Segments of finished "
        "members are dropped at the end",
        f"cost of judging: {one['members']} x {each} = {one['judgements']} judgements, each maps, masks and a score of "
        f"at most {one['pictures at most']} pictures at one scale",
    ]


def schedule_table(schedule: Sequence[Mapping[str, Any]]) -> Table:
    """A member's values by epoch."""
    paths = list(schedule[0]["values"])
    table = Table("epochs", *paths, title="the best member's values", title_justify="left")
    first = 0
    for item in schedule:
        shown = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in item["values"].values()]
        table.add_row(f"{first + 1}" if item["until"] == first + 1 else f"{first + 1}..{item['until']}", *shown)
        first = item["until"]
    return table
