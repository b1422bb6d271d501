"""Population based training (Jaderberg et al. 2017): who takes part, which axes may move, and what a copy changes.

Every draw is a function of the study's seed, the member's number and the epoch, so a study that is called again makes
the same ones. No Ray here: `population_run` hands this to Ray's scheduler.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from wsss_platform.config import look_up, override
from wsss_platform.errors import InputError
from wsss_platform.experiment import Experiment
from wsss_platform.schedule import fixed_because
from wsss_platform.search.space import Axis, CategoricalAxis, FloatAxis, IntAxis, SearchSpace

FACTORS = (0.8, 1.2)
"""A number is multiplied by one of these [stated]."""
NAN = -1.0
"""The score of a member that failed or cannot be scored: below any mean IoU."""


@dataclass(frozen=True)
class Population:
    """How a population is trained."""

    members: int = 4
    """Trained side by side; number 0 keeps the default config from beginning to end, and can only be copied [ours]."""
    interval: int = 1
    """Epochs between two judgements, after which the lower members copy better ones."""
    quantile: float = 0.25
    """Part of the members that copies, and part that is copied, 0..0.5. 0.2 [stated], 0.25 is Ray's default."""
    resample: float = 0.25
    """Probability that a copy draws a value anew instead of perturbing it, 0..1. Ray's default; [unknown] in the paper,
    which draws anew in some of its experiments."""

    def __post_init__(self) -> None:
        for name, low in (("members", 2), ("interval", 1)):
            if getattr(self, name) < low:
                raise InputError(f"population {name}: expected at least {low}, got {getattr(self, name)}")
        if not 0 < self.quantile <= 0.5:
            raise InputError(f"population quantile: expected more than 0 and at most 0.5, got {self.quantile}")
        if not 0 <= self.resample <= 1:
            raise InputError(f"population resample: expected 0..1, got {self.resample}")

    def identity(self) -> dict[str, Any]:
        """What must not change when its study is continued."""
        return asdict(self)


def check_scored(truth_free: bool) -> None:
    """InputError where no score may be seen."""
    if truth_free:
        raise InputError("--scheduler pbt copies what scores better, and --selection none sees no score")


def movable(experiment: Experiment, space: SearchSpace) -> tuple[SearchSpace, dict[str, str]]:
    """The axes that may change in the middle of the last phase's training, and the others with the reason.

    An axis may when the path says that the training reads it at each step (a loss weight, a learning rate), or when the
    live objective says that it uses it (`Objective.applied`), and the network has the same shape at all its values.

    Raises:
        InputError: no axis may, or maps of the last phase cannot be made before its training ends.
    """
    phase = experiment.phases[-1]
    if phase.refines:
        raise InputError(
            f"--scheduler pbt judges phase {phase.name!r} while it trains, but it makes no maps of its own; "
            "set affinity.kind = 'none' and refine the best member afterwards"
        )
    shapes = _Shapes(experiment)
    free: list[Axis] = []
    held: dict[str, str] = {}
    for axis in space.axes:
        begins = "it says from when members can be judged" if axis.path == phase.begins else None
        reason = begins or fixed_because(phase, axis.path) or _entangled(axis, space) or shapes.fixed_because(axis)
        if reason is None:
            free.append(axis)
        else:
            held[axis.path] = reason
    if not free:
        listed = "; ".join(f"{path}: {reason}" for path, reason in held.items())
        raise InputError(f"--scheduler pbt: no axis of the search space may change during a training ({listed})")
    return SearchSpace(axes=tuple(free)), held


def _entangled(axis: Axis, space: SearchSpace) -> str | None:
    if axis.when:
        return "it exists only beside certain values of other axes"
    if any(axis.path in (other.when or {}) for other in space.axes):
        return "other axes exist only beside certain values of it"
    return None


class _Shapes:
    """The last phase's network, built at the values of an axis and compared with the default one."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment, self._phase = experiment, experiment.phases[-1]
        self._config = experiment.config
        if self._config.backbone.weights != "none":
            self._config = override(self._config, {"backbone.weights": "none"})  # only shapes are asked for
        self._classes = len(experiment.dataset.classes)
        self._default: tuple[dict[str, Any], frozenset[str]] | None = None

    def fixed_because(self, axis: Axis) -> str | None:
        """Why an axis must stay as it is; None if it may move."""
        if self._default is None:
            self._default = self._built({})
        shapes, applied = self._default
        section = axis.path.rpartition(".")[0]
        if section not in (self._phase.train, self._phase.loss) and axis.path not in applied:
            return "the objective does not say that it reads it at each step (Objective.applied)"
        if section == self._phase.train:
            return None
        for value in axis.probes():
            if self._built({axis.path: value})[0] != shapes:
                return f"at {value!r} the network has other parameters"
        return None

    def _built(self, changes: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
        objective = self._phase.build(override(self._config, changes, "search space"), self._classes)
        shapes = {name: tuple(value.shape) for name, value in objective.state_dict().items()}
        return shapes, frozenset(objective.applied())


def first_values(space: SearchSpace, experiment: Experiment, seed: int, number: int) -> dict[str, Any]:
    """The values with which a member begins: number 0 with the default config's, the others with draws."""
    if number == 0:
        return {axis.path: _plain(look_up(experiment.config, axis.path)) for axis in space.axes}
    source = random.Random(f"{seed} first {number}")
    return {axis.path: _drawn(axis, source) for axis in space.axes}


def explored(
    space: SearchSpace, values: Mapping[str, Any], population: Population, seed: int, number: int, epoch: int
) -> dict[str, Any]:
    """The values with which a member goes on from a copy of another one.

    Each is drawn anew with probability `resample`, or else moved: a number by one of `FACTORS` within its axis (a whole
    number by at least one step), a choice to one of its neighbours.

    Args:
        space: the axes that move.
        values: those of the member that was copied.
        population: its `resample`.
        seed: of the study.
        number: of the member that goes on.
        epoch: at which it copied.
    """
    source = random.Random(f"{seed} explore {number} {epoch}")
    moved: dict[str, Any] = {}
    for axis in space.axes:
        anew = source.random() < population.resample
        moved[axis.path] = _drawn(axis, source) if anew else _moved(axis, values[axis.path], source)
    return moved


def _drawn(axis: Axis, source: random.Random) -> Any:
    if isinstance(axis, CategoricalAxis):
        return _plain(source.choice(axis.choices))
    if axis.log:
        value = math.exp(source.uniform(math.log(axis.low), math.log(axis.high)))
    elif isinstance(axis, FloatAxis):
        value = source.uniform(axis.low, axis.high)
    else:
        value = source.randint(0, (axis.high - axis.low) // axis.step) * axis.step + axis.low
    return axis.nearest(value)


def _moved(axis: Axis, value: Any, source: random.Random) -> Any:
    up = source.random() < 0.5
    if isinstance(axis, CategoricalAxis):
        choices = [_plain(choice) for choice in axis.choices]
        return choices[min(max(choices.index(value) + (1 if up else -1), 0), len(choices) - 1)]
    moved = axis.nearest(value * FACTORS[up])
    if isinstance(axis, IntAxis) and moved == axis.nearest(value):
        return axis.nearest(value + (axis.step if up else -axis.step))
    return moved


def _plain(value: Any) -> Any:
    """A tuple as the list that JSON makes of it."""
    return list(value) if isinstance(value, tuple) else value
