"""Ray's PopulationBasedTraining with draws that depend on the seed alone, and values that stay on their axes.

Ray's scheduler (2.60) draws from Python's global generator and, unless it is told to wait, judges a member against
whatever the others had reached by then: two runs differ. Here it waits for all members (`synch`), the global generator
is seeded around each decision, and what a copy changes is ours (`population.explored`).
"""

from __future__ import annotations

import json
import random
from typing import Any

from ray.tune.schedulers import PopulationBasedTraining

from wsss_platform.engine.halting import Halt
from wsss_platform.engine.member import EPOCH, SCORE
from wsss_platform.engine.population import Population, explored
from wsss_platform.search.space import SearchSpace


class SeededPopulation(PopulationBasedTraining):
    """Member 0, the default config, is never overwritten; it can be copied."""

    def __init__(self, population: Population, space: SearchSpace, seed: int, halt: Halt) -> None:
        """
        Args:
            population: how it is trained.
            space: the axes that move.
            seed: of the study.
            halt: whether the study ends early.
        """
        super().__init__(
            time_attr=EPOCH,
            metric=SCORE,
            mode="max",
            perturbation_interval=population.interval,
            quantile_fraction=population.quantile,
            custom_explore_fn=self._copied,
            log_config=False,
            require_attrs=False,  # reports of epochs have neither
            synch=True,
        )
        self._population, self._space, self._seed = population, space, seed
        self._halt = halt
        self._deciding: tuple[int, int] = (0, 0)
        """(member, finished epochs) that a decision is about."""

    def _checkpoint_or_exploit(
        self, trial: Any, tune_controller: Any, upper_quantile: list[Any], lower_quantile: list[Any]
    ) -> None:
        """Ray's decision about one member, with seeded draws."""
        number = int(trial.config["member"]["number"])
        if number == 0:
            lower_quantile = [other for other in lower_quantile if other is not trial]
        self._deciding = number, int(self._trial_state[trial].last_train_time)
        before = random.getstate()
        random.seed(f"{self._seed} copy {self._deciding}")
        try:
            super()._checkpoint_or_exploit(trial, tune_controller, upper_quantile, lower_quantile)
        finally:
            random.setstate(before)

    def _copied(self, config: dict[str, Any]) -> dict[str, Any]:
        """The config of the member that a decision is about, from that of the one it copies."""
        number, epoch = self._deciding
        values = json.loads(config["member"]["values"])
        moved = explored(self._space, values, self._population, self._seed, number, epoch)
        return {**config, "member": {"number": number, "values": json.dumps(moved)}}

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """No member starts in a study that ends early, which is over once none runs any more: those that wait for a
        judgement would wait for ever, as Ray's scheduler decides only when a judged one comes in."""
        if not self._halt.wanted:
            return super().choose_trial_to_run(tune_controller)
        if all(trial.status != "RUNNING" for trial in tune_controller.get_trials()):
            tune_controller.request_stop_experiment()
        return None

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A member whose process died too often ends the run: the others would wait for it for ever."""
        if not trial.should_recover():
            tune_controller.request_stop_experiment()
        super().on_trial_error(tune_controller, trial)
