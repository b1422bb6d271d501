import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from wsss_platform.engine.producer import run_chunks
from wsss_platform.engine.runner import RayRunner
from wsss_platform.errors import InputError, RunError
from wsss_platform.local_runner import LocalRunner
from wsss_platform.stages import Chunk, ChunkReport
from wsss_platform.store import write_atomic

pytestmark = pytest.mark.usefixtures("two_nodes")

CHUNKS = [Chunk(index, (f"a{index}", f"b{index}")) for index in range(12)]


@dataclass(frozen=True)
class Write:
    """Writes a file per chunk, and a line per call with the process that made it."""

    folder: Path
    seconds: float = 0.02
    kill_once: int = -1
    kill_always: int = -1
    wrong: int = -1
    error: type[Exception] = InputError
    meet: int = 1
    """A call waits until so many processes have called."""

    def __call__(self, chunk: Chunk) -> ChunkReport:
        with (self.folder / "calls.txt").open("a") as stream:
            stream.write(f"{chunk.index} {os.getpid()}\n")
        until = time.monotonic() + 60
        while len({process for _, process in self.calls()}) < self.meet and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(self.seconds)
        if chunk.index == self.kill_always:
            os.kill(os.getpid(), signal.SIGKILL)
        if chunk.index == self.kill_once and not (self.folder / "killed").exists():
            (self.folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if chunk.index == self.wrong:
            raise self.error(f"{chunk.ids[0]}.jpg: truncated")
        write_atomic(self.folder / f"{chunk.index}.out", " ".join(chunk.ids))
        return ChunkReport(chunk.index, len(chunk.ids), ((chunk.ids[0], "grey"),))

    def calls(self) -> list[tuple[int, int]]:
        lines = (self.folder / "calls.txt").read_text().splitlines()
        return [(int(index), int(process)) for index, process in map(str.split, lines)]

    def outputs(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.glob("*.out")}


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_pool_equals_one_process(tmp_path: Path) -> None:
    pool, serial = Write(_folder(tmp_path / "pool"), meet=2), Write(_folder(tmp_path / "serial"))
    seen: list[ChunkReport] = []
    RayRunner(actors=2).chunks(pool, CHUNKS, seen.append)
    expected: list[ChunkReport] = []
    LocalRunner().chunks(serial, CHUNKS, expected.append)
    assert sorted(seen, key=lambda report: report.index) == expected
    assert pool.outputs() == serial.outputs()
    assert len(pool.outputs()) == 12
    processes = {process for _, process in pool.calls()}
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    work = Write(tmp_path, kill_once=3)
    seen: list[ChunkReport] = []
    run_chunks(work, CHUNKS, seen.append, actors=2)
    assert sorted(report.index for report in seen) == list(range(12))
    assert len(work.outputs()) == 12
    assert len({process for _, process in work.calls()}) >= 2
    assert [index for index, _ in work.calls()].count(3) == 2


def test_a_chunk_that_always_kills_is_named_and_no_other(tmp_path: Path) -> None:
    work = Write(tmp_path, kill_always=5)
    seen: list[ChunkReport] = []
    with pytest.raises(RunError, match=r"chunk 5 died 3 times .*: a5, b5$"):
        run_chunks(work, CHUNKS, seen.append, actors=2)
    assert [index for index, _ in work.calls()].count(5) == 3
    assert sorted(report.index for report in seen) == [index for index in range(12) if index != 5]


@pytest.mark.parametrize("error", [InputError, RunError, KeyError])
def test_an_exception_of_the_work_comes_through(error: type[Exception], tmp_path: Path) -> None:
    """As it was raised; what ran beside it is finished and reported, what had not started is not begun."""
    work = Write(tmp_path, wrong=1, error=error, seconds=0.1)
    seen: list[ChunkReport] = []
    with pytest.raises(error) as caught:
        run_chunks(work, CHUNKS, seen.append, actors=2)
    assert type(caught.value) is error
    assert caught.value.args == ("a1.jpg: truncated",)
    assert {f"{report.index}.out" for report in seen} == work.outputs().keys()
    assert 0 < len(seen) < 11


def test_more_actors_than_the_cluster_holds_do_not_wait_for_ever(tmp_path: Path) -> None:
    work = Write(tmp_path)
    seen: list[ChunkReport] = []
    run_chunks(work, CHUNKS, seen.append, actors=12)
    assert sorted(report.index for report in seen) == list(range(12))


def test_nothing_to_do_starts_nothing() -> None:
    run_chunks(Write(Path("nowhere")), [], lambda report: None, actors=2)
