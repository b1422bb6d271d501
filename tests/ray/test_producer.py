import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from another_process import LONGEST_WAIT
from chunk_writing import CHUNKS, Write
from stored_files import files_of
from wsss_platform.engine.producer import run_chunks
from wsss_platform.engine.runner import RayRunner
from wsss_platform.errors import InputError, RunError
from wsss_platform.plan.jobs import Chunk, ChunkReport
from wsss_platform.run.chunks.images import ImageWork, read_failures
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.pipeline import run
from wsss_platform.store.artefacts import Store, write_atomic

pytestmark = pytest.mark.usefixtures("two_nodes")

GPUS = pytest.mark.parametrize("gpus", [0.0, 1.0], ids=["tasks", "actors"])


def _run(work: Write, reports: list[ChunkReport], gpus: float = 0.0, workers: int = 2) -> None:
    shares = [gpus]
    run_chunks(
        [work], CHUNKS, lambda place, report: reports.append(report), processes=workers, actors=workers, gpus=shares
    )


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_pool_equals_one_process(tmp_path: Path) -> None:
    pool, serial = Write(_folder(tmp_path / "pool"), meet=2), Write(_folder(tmp_path / "serial"))
    seen: list[ChunkReport] = []
    RayRunner(actors=2).chunks([pool], CHUNKS, lambda place, report: seen.append(report))
    expected: list[ChunkReport] = []
    LocalRunner().chunks([serial], CHUNKS, lambda place, report: expected.append(report))
    assert sorted(seen, key=lambda report: report.index) == expected
    assert pool.outputs() == serial.outputs()
    assert len(pool.outputs()) == 12
    processes = {process for _, process in pool.calls()}
    assert len(processes) >= 2  # tasks may find more warm processes than run at once
    assert os.getpid() not in processes


@GPUS
def test_a_killed_worker_is_replaced(gpus: float, tmp_path: Path) -> None:
    work = Write(tmp_path, kill_once=3)
    seen: list[ChunkReport] = []
    _run(work, seen, gpus)
    assert sorted(report.index for report in seen) == list(range(12))
    assert len(work.outputs()) == 12
    assert len({process for _, process in work.calls()}) >= 2
    assert [index for index, _ in work.calls()].count(3) == 2


@GPUS
def test_a_chunk_that_always_kills_is_named_and_no_other(gpus: float, tmp_path: Path) -> None:
    work = Write(tmp_path, kill_always=5)
    seen: list[ChunkReport] = []
    with pytest.raises(RunError, match=r"chunk 5 died 3 times .*: a5, b5$"):
        _run(work, seen, gpus)
    assert [index for index, _ in work.calls()].count(5) == 3
    assert sorted(report.index for report in seen) == [index for index in range(12) if index != 5]


@GPUS
@pytest.mark.parametrize("error", [InputError, RunError, KeyError])
def test_an_exception_of_the_work_comes_through(error: type[Exception], gpus: float, tmp_path: Path) -> None:
    """As it was raised; what ran beside it is finished and reported, what had not started is not begun."""
    work = Write(tmp_path, wrong=1, error=error, seconds=0.1)
    seen: list[ChunkReport] = []
    with pytest.raises(error) as caught:
        _run(work, seen, gpus)
    assert type(caught.value) is error
    assert caught.value.args == ("a1.jpg: truncated",)
    assert {f"{report.index}.out" for report in seen} == work.outputs().keys()
    assert 0 < len(seen) < 11


@GPUS
def test_more_actors_than_the_cluster_holds_do_not_wait_for_ever(gpus: float, tmp_path: Path) -> None:
    work = Write(tmp_path)
    seen: list[ChunkReport] = []
    _run(work, seen, gpus, workers=12)
    assert sorted(report.index for report in seen) == list(range(12))


def test_processes_stay_warm_and_hold_one_work(tmp_path: Path) -> None:
    """A second stage finds the processes of the first; what they held of it is gone."""
    first, second = Write(_folder(tmp_path / "first"), meet=2), Write(_folder(tmp_path / "second"), meet=2)
    for work in (first, second):
        _run(work, [])
    processes = [{process for _, process in work.calls()} for work in (first, second)]
    assert processes[0] & processes[1]
    assert len(second.outputs()) == 12


def test_maps_masks_and_scores_are_those_of_one_process(tmp_path: Path) -> None:
    """The same bytes in every file, with a dense CRF between maps and masks."""
    from tiny_method import tiny_sample

    experiment = tiny_sample(crf="irn", images=35)  # two chunks
    stores = [Store(tmp_path / "ray"), Store(tmp_path / "here")]
    run(experiment, stores[0], LocalRunner(threads=1), until=experiment.stage("train"))
    shutil.copytree(stores[0].root, stores[1].root)
    for store, runner in zip(stores, (RayRunner(actors=2), LocalRunner(threads=1)), strict=True):
        run(experiment, store, runner)
    trees = [files_of(store.root / "stages") for store in stores]
    assert any(name.endswith(".png") for name in trees[0])
    assert trees[0] == trees[1]


@dataclass(frozen=True)
class Step:
    """One work of a line of three; fails without what the one before has left."""

    folder: Path
    place: int
    uses_gpu: bool = False

    def __call__(self, chunk: Chunk) -> ChunkReport:
        if self.place and not (self.folder / f"{self.place - 1}-{chunk.index}").exists():
            raise InputError(f"chunk {chunk.index} came too early")
        if self.place == 0 and chunk == CHUNKS[-1]:
            until = time.monotonic() + LONGEST_WAIT
            while not list(self.folder.glob("2-*")):
                if time.monotonic() > until:
                    raise InputError("no chunk was through before the last one began")
                time.sleep(0.05)
        write_atomic(self.folder / f"{self.place}-{chunk.index}", "")
        return ChunkReport(chunk.index, len(chunk.ids))


@pytest.mark.parametrize("first_on_gpu", [True, False], ids=["a GPU before the CPUs", "CPUs only"])
def test_a_chunk_does_not_wait_for_the_others(first_on_gpu: bool, tmp_path: Path) -> None:
    """The last map is not finished before some chunk is through: GPUs and CPUs work beside each other."""
    line = [Step(tmp_path, 0, uses_gpu=first_on_gpu), Step(tmp_path, 1), Step(tmp_path, 2)]
    seen: list[tuple[int, int]] = []
    RayRunner(gpus_per_worker=1.0, actors=2).chunks(line, CHUNKS, lambda place, one: seen.append((place, one.index)))
    assert sorted(seen) == [(place, chunk.index) for place in range(3) for chunk in CHUNKS]


@dataclass(frozen=True)
class Images(ImageWork):
    """Writes a chunk's ids; one image kills the process, another cannot be read."""

    def __call__(self, chunk: Chunk) -> ChunkReport:
        def make(image: str) -> str:
            if image == "b3":
                os.kill(os.getpid(), signal.SIGKILL)
            if image == "a4":
                raise InputError("a4.jpg: truncated")
            return image

        made, failures = self._each(chunk, make)
        write_atomic(self.folder / f"{chunk.index}.out", " ".join(made))
        return self._report(chunk, len(made), failures)


@GPUS
def test_an_image_that_kills_its_worker_is_named_and_the_rest_is_made(gpus: float, tmp_path: Path) -> None:
    from tiny_method import tiny_sample

    experiment = tiny_sample()
    work = Images(experiment, experiment.phases[-1], "train", tmp_path)
    reports: list[ChunkReport] = []
    run_chunks([work], CHUNKS, lambda place, one: reports.append(one), processes=2, actors=2, gpus=[gpus])
    assert sorted(one.index for one in reports) == list(range(12))
    failed = {name: reason for one in reports for name, reason in one.failures}
    assert failed.keys() == {"b3", "a4"}
    assert failed["b3"].startswith("b3: its processing killed the worker 3 times (")
    assert failed["a4"] == "a4.jpg: truncated"
    assert (tmp_path / "3.out").read_text() == "a3"
    assert read_failures(tmp_path, 3) == [("b3", failed["b3"])]
    assert not list(tmp_path.glob("at-*"))


def test_nothing_to_do_starts_nothing() -> None:
    run_chunks([Write(Path("nowhere"))], [], lambda place, report: None, processes=2)
