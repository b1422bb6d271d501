"""The budget of GPU-hours: counted over all calls from the journal. No cluster, no GPU, a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from wsss_platform.engine.gpu_hours import USED, GpuClock, check_gpu_hours
from wsss_platform.engine.request import StudyRequest
from wsss_platform.engine.searcher import StudySearcher
from wsss_platform.engine.study import FROM, StudyFolder
from wsss_platform.errors import InputError
from wsss_platform.space import read_space
from wsss_platform.store import Store

from tiny_method import TinyConfig, tiny_job  # isort: skip

CONFIG = TinyConfig()
SPACE = read_space(
    {"axes": {"loss.contrast": {"kind": "float", "low": 0.01, "high": 1.0, "reason": "to test with"}}}, CONFIG, "space"
)
HOUR = 3600.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time for the GPU clock alone, which is made by the searcher."""
    made = Clock()
    start: Callable[..., None] = GpuClock.__init__

    def with_clock(self: GpuClock, *given: Any, **more: Any) -> None:
        start(self, *given, **more, clock=made)

    monkeypatch.setattr(GpuClock, "__init__", with_clock)
    return made


def searcher(folder: Path, hours: float | None = 4.0, gpus: float = 2.0) -> StudySearcher:
    return StudySearcher(StudyFolder(folder, {}), SPACE, CONFIG, seed=3, gpus=gpus, gpu_hours=hours)


def used(folder: Path) -> list[float | None]:
    return [trial.user_attrs.get(USED) for trial in StudyFolder(folder, {}).study.get_trials()]


def test_no_trial_starts_when_they_are_used_up(tmp_path: Path, clock: Clock) -> None:
    """Two GPUs for an hour each are two of four."""
    search = searcher(tmp_path / "s")
    for name in ("a", "b"):
        assert search.suggest(name) != Searcher.FINISHED
        clock.now += HOUR
        search.on_trial_complete(name, {"event": "finished", "objective": 0.5})
    assert used(tmp_path / "s") == [2 * HOUR, 2 * HOUR]
    assert search.out_of_gpu_hours
    assert search.suggest("c") == Searcher.FINISHED
    again = searcher(tmp_path / "s")  # the next call knows
    assert again.suggest("d") == Searcher.FINISHED
    more = searcher(tmp_path / "s", hours=5.0)
    assert more.suggest("d")["number"] == 2


def test_running_and_failed_trials_count(tmp_path: Path, clock: Clock) -> None:
    search = searcher(tmp_path / "s")
    search.suggest("a"), search.suggest("b")
    clock.now += HOUR - 1
    assert not search.out_of_gpu_hours
    clock.now += 1
    assert search.out_of_gpu_hours  # two at once, two GPUs each
    search.on_trial_complete("a", None, error=True)
    search.on_trial_complete("b", {"event": "failed", "reason": "something"})
    assert used(tmp_path / "s") == [2 * HOUR, 2 * HOUR]


def test_waiting_for_a_place_is_free(tmp_path: Path, clock: Clock) -> None:
    search = searcher(tmp_path / "s")
    search.suggest("a")
    clock.now += HOUR
    search.started("a")
    clock.now += 60
    search.on_trial_result("a", {"event": "epoch", "phase": "tiny", "end/epoch": 1})
    search.started("a")  # its process died and was started again: what it used stays
    clock.now += 60
    search.on_trial_complete("a", {"event": "finished", "objective": 0.5})
    assert used(tmp_path / "s") == [2 * 120.0]


def test_what_a_killed_driver_used_counts_up_to_its_last_epoch(tmp_path: Path, clock: Clock) -> None:
    first = searcher(tmp_path / "s")
    first.suggest("a")
    clock.now += 100
    first.on_trial_result("a", {"event": "epoch", "phase": "tiny", "end/epoch": 1})
    clock.now += 50  # and the driver dies
    again = searcher(tmp_path / "s")
    clock.now += 1000
    again.suggest("b")
    clock.now += 10
    again.on_trial_complete("b", {"event": "finished", "objective": 0.5})
    assert used(tmp_path / "s") == [2 * 110.0]


def test_without_gpus_nothing_is_written(tmp_path: Path, clock: Clock) -> None:
    search = searcher(tmp_path / "s", hours=None, gpus=0.0)
    search.suggest("a")
    clock.now += HOUR
    search.on_trial_complete("a", {"event": "finished", "objective": 0.5})
    assert used(tmp_path / "s") == [None]


def test_told_trials_do_not_count(tmp_path: Path, clock: Clock) -> None:
    study = StudyFolder(tmp_path / "s", {}).study
    search = searcher(tmp_path / "s", gpus=4.0)
    search.suggest("a")
    clock.now += 30
    search.on_trial_complete("a", {"event": "finished", "objective": 0.5})
    trial = study.get_trials()[0]
    trial.user_attrs[FROM] = "earlier trial 0"
    study.add_trial(trial)
    assert GpuClock(study, 4.0, 1.0).used == 120.0


@pytest.mark.parametrize(("hours", "gpus", "said"), [(1.0, 0.0, "use no GPU"), (0.0, 1.0, "more than 0")])
def test_a_budget_that_cannot_be_kept_is_refused(hours: float, gpus: float, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_gpu_hours(hours, gpus)
    with pytest.raises(InputError, match=said):
        StudyRequest(
            tiny_job().experiment, SPACE, 4, Store(Path("nowhere")), "s", gpu_hours=hours, gpus_per_worker=gpus
        )
    check_gpu_hours(None, 0.0)
