"""What a study costs beside its trainings: time per trial against bare Ray Tune, and the driver's memory.

Both sides run the same function, a run of the whole pipeline on four tiny images in the process of the trial, two
trials at once, on one warm Ray cluster, in turn. Ours is the study as `tune` runs it: journal, records, tables, bars,
the dropping of losers' maps. The other side is `ray.tune.Tuner` with `OptunaSearch` and `reuse_actors`, no loggers: it
keeps nothing but Tune's own state.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.images import PreparedImage
from benchmarks.measure import Row
from benchmarks.tiny_training import blink
from wsss_platform.plan.experiment import Experiment
from wsss_platform.store.artefacts import Store

TRIALS, ROUNDS, FEW, MANY = 32, 3, 20, 200
AT_ONCE = 2
AXIS = {"kind": "float", "low": 1e-4, "high": 1e-1, "log": True, "reason": "a real number, so that no trial is cached"}


def rows(images: list[PreparedImage], classes: int, folder: Path) -> Iterator[Row]:
    """Time per trial with and without the trial's own work, then memory; each in a fresh driver."""
    found = _fresh("speed", TRIALS, ROUNDS)
    alone, own, bare = found["function"], found["ours"], found["bare"]
    note = (
        f"studies of {TRIALS} trials, {AT_ONCE} at once, wall clock over the whole study with its start, medians of "
        f"{ROUNDS} rounds; the function alone, {AT_ONCE} at once in plain Ray tasks, takes {alone:.0f} ms of a trial"
    )
    yield Row(
        "time per trivial trial vs bare Ray Tune with OptunaSearch", own, bare, "ms", round(1 / 1.2, 2), note=note
    )
    overhead = [max(value - alone, 1e-3) for value in (own, bare)]
    yield Row("overhead per trial (that minus the function) vs bare Ray Tune", *overhead, "ms", round(1 / 1.2, 2))
    memory = _fresh("memory", MANY, FEW)
    yield Row(
        f"driver memory at {MANY} trials of a study vs at {FEW}",
        memory["many"],
        memory["few"],
        "MB",
        0.95,
        note=f"resident memory of the driver's process; {memory['start']:.0f} MB before the first trial",
    )
    yield Row(
        f"time between two trials around the {MANY}th vs around the {FEW}th",
        memory["late"],
        memory["early"],
        "ms",
        0.9,
        note="wall clock over 20 trials each, of the same study",
    )


def _fresh(what: str, *numbers: int) -> dict[str, float]:
    """Measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.trials", what, *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _request(folder: Path, trials: int) -> Any:
    from wsss_platform.config.options import build
    from wsss_platform.run.local_runner import LocalRunner
    from wsss_platform.search.space_file import read_space
    from wsss_platform.tune.options import StudyOptions
    from wsss_platform.tune.request import StudyRequest

    experiment = blink()
    space = read_space({"axes": {"train.learning_rate": AXIS}}, experiment.config, "benchmark")
    given = {"trials": trials, "name": "study", "scheduler": "none", "concurrent": AT_ONCE, "wandb": "disabled"}
    return StudyRequest(experiment, space, Store(folder), build(StudyOptions, given), runner=LocalRunner(threads=1))


def _ours(folder: Path, trials: int) -> None:
    from wsss_platform.api.study_records import StudyRecords
    from wsss_platform.tune.tuner import tune

    request = _request(folder, trials)
    with StudyRecords(request) as view:
        result = tune(request, view)
    if [row.state for row in result.rows] != ["complete"] * trials:
        raise RuntimeError("not every trial was completed")


def _function(experiment: Experiment, rate: float, folder: Path) -> float:
    """What both sides run: the best mean IoU of the sweep after all stages."""
    from wsss_platform.run.local_runner import LocalRunner
    from wsss_platform.run.pipeline import run
    from wsss_platform.tune.trial import best_of

    other = experiment.with_changes({"train.learning_rate": rate}, "benchmark")
    score = run(other, Store(folder), LocalRunner(threads=1)).score
    assert score is not None
    return best_of(score)[1]


def _trainable(config: dict[str, Any], experiment: Experiment, folder: Path) -> None:
    from ray import tune

    tune.report({"objective": _function(experiment, config["rate"], folder)})


def _bare(folder: Path, trials: int) -> None:
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    trainable = tune.with_resources(
        tune.with_parameters(_trainable, experiment=blink(), folder=folder / "store"),
        tune.PlacementGroupFactory([{"memory": 2**20}]),
    )
    results = tune.Tuner(
        trainable,
        param_space={"rate": tune.loguniform(AXIS["low"], AXIS["high"])},
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(metric="objective", mode="max", seed=0),
            num_samples=trials,
            max_concurrent_trials=AT_ONCE,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name="bare", storage_path=str(folder / "ray"), verbose=0),
    ).fit()
    if results.num_errors or len(results) != trials:
        raise RuntimeError("not every trial was completed")


def _speed(trials: int, rounds: int, folder: Path) -> dict[str, float]:
    """Milliseconds per trial of each side, and of the function in as many Ray tasks at once."""
    import ray

    number = itertools.count()
    times: dict[str, list[float]] = {"ours": [], "bare": [], "function": []}

    def timed(name: str, work: Any, count: int) -> None:
        start = time.monotonic()
        work(folder / f"{name}{next(number)}", count)
        times[name].append((time.monotonic() - start) / count * 1e3)

    def alone(place: Path, count: int) -> None:
        task = ray.remote(num_cpus=1)(_in_turn)
        ray.get([task.remote(place, range(first, count, AT_ONCE)) for first in range(AT_ONCE)])

    for work in (_ours, _bare, alone):  # the cluster's processes and the compiled functions are warm
        work(folder / f"warm{next(number)}", 3)
    for _ in range(rounds):
        timed("ours", _ours, trials)
        timed("bare", _bare, trials)
        timed("function", alone, trials)
    return {name: statistics.median(values) for name, values in times.items()}


def _in_turn(place: Path, numbers: range) -> None:
    experiment = blink()
    for number in numbers:
        _function(experiment, 1e-3 * (1 + number), place)


def _memory(many: int, few: int, folder: Path) -> dict[str, float]:
    """MB of this process after some trials of one study, and ms between two trials around them."""
    from wsss_platform.api.study_records import StudyRecords
    from wsss_platform.run.trial_events import StudyState
    from wsss_platform.tune.tuner import tune

    request = _request(folder, many)
    found, ends = {"start": _resident()}, [time.monotonic()]
    with StudyRecords(request) as view:

        def on_event(event: Any) -> None:
            view(event)
            if isinstance(event, StudyState) and event.finished:
                ends.append(time.monotonic())
                if event.finished in (few, many):
                    gc.collect()
                    found["few" if event.finished == few else "many"] = _resident()

        tune(request, on_event)
    span = min(20, few - 1)
    found["early"] = (ends[few] - ends[few - span]) / span * 1e3
    found["late"] = (ends[many] - ends[many - span]) / span * 1e3
    return found


def _resident() -> float:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1e3


def _measured(what: str, numbers: list[int]) -> dict[str, float]:
    from wsss_platform.engine.cluster import connect

    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"}
    with tempfile.TemporaryDirectory(prefix="wsss-trials-") as folder, connect("local", cpus=AT_ONCE):
        return {"speed": _speed, "memory": _memory}[what](*numbers, Path(folder))


if __name__ == "__main__":
    print(json.dumps(_measured(sys.argv[1], [int(number) for number in sys.argv[2:]])))
