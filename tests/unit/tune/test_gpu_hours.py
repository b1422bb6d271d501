"""The budget of GPU-hours: counted over all calls from the journal. No cluster, no GPU, a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from study_requests import study_request, study_searcher
from tiny_method import TinyConfig, tiny_job
from wsss_platform.errors import InputError
from wsss_platform.search.space_file import read_space
from wsss_platform.store.artefacts import Store
from wsss_platform.tune.gpu_hours import USED, GpuClock
from wsss_platform.tune.request import StudyRequest
from wsss_platform.tune.searcher import StudySearcher
from wsss_platform.tune.study import StudyFolder

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
    return study_searcher(StudyFolder(folder, {}), SPACE, CONFIG, gpus_per_worker=gpus, gpu_hours=hours)


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


def test_a_budget_that_would_never_be_used_up_is_refused() -> None:
    with pytest.raises(InputError, match="use no GPU"):
        request(gpus_per_worker=0.0)
    assert request(gpus_per_worker=0.5).options.budget.limits.gpu_hours == 1.0
    assert request(gpus_per_worker=None).options.budget.limits.gpu_hours == 1.0  # not known before there is a cluster


def test_a_budget_is_no_part_of_what_a_study_is() -> None:
    asked = request(gpus_per_worker=0.5)
    found = asked.identity()
    assert found == asked.with_options(gpu_hours=None, trials=9).identity()
    assert {name: found[name] for name in ("sampler", "seeds", "objectives", "inner")} == {
        "sampler": "tpe",
        "seeds": 1,
        "objectives": ["accuracy"],
        "inner": 0,
    }


def request(**more: Any) -> StudyRequest:
    experiment = tiny_job().experiment
    return study_request(experiment, SPACE, 4, Store(Path("nowhere")), name="s", gpu_hours=1.0, **more)
