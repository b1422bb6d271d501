"""Stored maps to scored masks on 1, 2 and 4 raylets of this host, one worker each: what a core gets done.

Wall clock times the cores in use. With more raylets than cores the workers share them, so what a raylet costs shows.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.images import PreparedImage
from benchmarks.measure import Row
from benchmarks.producers import CRF, LINE, Material, new_folder
from wsss_platform.engine.cluster import SETTINGS, connect
from wsss_platform.engine.runner import RayRunner
from wsss_platform.run.pipeline import run

RAYLETS, ROUNDS, IMAGES, COPIES = (1, 2, 4), 2, 16, 32


def rows(images: list[PreparedImage], classes: int, folder: Path) -> Iterator[Row]:
    """More raylets against one, in milliseconds of a core per image; "theirs" is one raylet."""
    os.environ.update(SETTINGS)
    some = Material(images[:IMAGES], folder / "some", COPIES, full=False)
    few = Material(images[:IMAGES], folder / "few", 1, full=False)
    times: dict[int, list[float]] = {raylets: [] for raylets in RAYLETS}
    for _ in range(ROUNDS):
        for raylets, own in times.items():
            own.append(_seconds(raylets, few, some, folder))
    seconds = {raylets: statistics.median(own) for raylets, own in times.items()}
    cores, count = len(os.sched_getaffinity(0)), len(some.ids)
    on_core = {raylets: value * min(raylets, cores) / count * 1e3 for raylets, value in seconds.items()}
    speeds = ", ".join(f"{count / value:.2f} on {raylets}" for raylets, value in seconds.items())
    note = (
        f"{count} images of about 375x500, {cores} cores, one worker a raylet, medians of {ROUNDS}; images/s: {speeds}"
    )
    for raylets in RAYLETS[1:]:
        name = f"{LINE} on {raylets} raylets vs on 1, time of a core"
        yield Row(name, on_core[raylets], on_core[1], "ms", note=note)


def _seconds(raylets: int, few: Material, some: Material, folder: Path) -> float:
    """Of a run over `some` on a new cluster, a head without CPUs and the raylets, whose workers did `few` before."""
    from ray.cluster_utils import Cluster

    memory = {"object_store_memory": 128 * 1024**2}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **memory})
    try:
        for _ in range(raylets):
            cluster.add_node(num_cpus=1, **memory)
        with connect(cluster.address):
            for material in (few, some):
                experiment = material.experiment(CRF)
                store = material.store(new_folder(folder), experiment)
                start = time.monotonic()
                run(experiment, store, RayRunner())
            return time.monotonic() - start
    finally:
        cluster.shutdown()
