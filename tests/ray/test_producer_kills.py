"""What a producer of masks survives: its driver and a whole node, killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from another_process import LONGEST_WAIT, gone
from chunk_writing import CHUNKS, Write
from stored_files import files_of
from tiny_method import tiny_sample
from wsss_platform.engine.cluster import SETTINGS, connect
from wsss_platform.engine.producer import run_chunks
from wsss_platform.plan.jobs import ChunkReport
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.pipeline import run
from wsss_platform.store.artefacts import Store

DRIVER = """
from pathlib import Path
from tiny_method import tiny_sample
from wsss_platform.engine.cluster import connect
from wsss_platform.engine.runner import RayRunner
from wsss_platform.run.pipeline import run
from wsss_platform.store.artefacts import Store
with connect("local", cpus=2, object_store=128 * 1024**2):
    run(tiny_sample(crf="irn", images=160), Store(Path({storage!r})), RayRunner(),
        lambda event: print(type(event).__name__, event.stage.kind, flush=True))
"""


def test_a_killed_driver_goes_on_and_leaves_the_bytes_of_one_process(tmp_path: Path) -> None:
    """kill -9 while maps, masks and counts are made; the same command repeats no finished chunk."""
    experiment = tiny_sample(crf="irn", images=160)  # five chunks
    ray_store, plain = Store(tmp_path / "ray"), Store(tmp_path / "here")
    run(experiment, plain, LocalRunner(threads=1), until=experiment.stage("train"))
    shutil.copytree(plain.root, ray_store.root)
    code = DRIVER.format(storage=str(ray_store.root))
    first = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, process_group=0)
    assert first.stdout is not None
    for line in first.stdout:
        if line.split() == ["StageProgress", "maps"]:
            first.send_signal(signal.SIGKILL)
            break
    first.wait()
    gone(first.pid)
    maps = experiment.stage("maps")
    assert not ray_store.has("maps", maps.key)
    made = {file: file.stat().st_mtime_ns for file in ray_store.partial("maps", maps.key).glob("maps-*.parquet")}
    assert made
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LONGEST_WAIT)
    assert again.returncode == 0, again.stderr
    folder = ray_store.open("maps", maps.key).folder
    assert all((folder / file.name).stat().st_mtime_ns == when for file, when in made.items())
    run(experiment, plain, LocalRunner(threads=1))
    assert files_of(ray_store.root / "stages") == files_of(plain.root / "stages")


@pytest.fixture
def two_mortal_nodes() -> Iterator[list[object]]:
    """A head without CPUs and two nodes of one CPU; the node processes, for the test to kill."""
    from ray.cluster_utils import Cluster

    os.environ.update(SETTINGS)
    memory = {"object_store_memory": 128 * 1024**2}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **memory})
    try:
        nodes: list[object] = [cluster.add_node(num_cpus=1, **memory) for _ in range(2)]
        with connect(cluster.address):
            yield [cluster, *nodes]
    finally:
        cluster.shutdown()


def test_a_lost_node_loses_no_chunk(two_mortal_nodes: list[object], tmp_path: Path) -> None:
    cluster, node, _ = two_mortal_nodes
    work = Write(tmp_path, seconds=0.3)
    reports: list[int] = []

    def on_chunk(place: int, report: ChunkReport) -> None:
        reports.append(report.index)
        if len(reports) == 2:
            cluster.remove_node(node, allow_graceful=False)  # type: ignore[attr-defined]

    run_chunks([work], CHUNKS, on_chunk, processes=2)
    assert sorted(reports) == [chunk.index for chunk in CHUNKS]
    assert len(work.outputs()) == len(CHUNKS)
