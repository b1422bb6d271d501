"""Work for a producer that writes a file per chunk and says which process did it."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from another_process import LONGEST_WAIT
from wsss_platform.errors import InputError
from wsss_platform.plan.jobs import Chunk, ChunkReport
from wsss_platform.store.artefacts import write_atomic

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
        until = time.monotonic() + LONGEST_WAIT
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
