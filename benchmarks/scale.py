"""`make scale`: the pipeline at the size of VOC's augmented training set, with a node killed at half time.

10,582 small generated images: maps -> masks (CRF) -> score on two raylets of this host. Once undisturbed; then again
from the same weights with one raylet killed when half of the maps are there. Both must leave the same bytes. Prints
images per second, files, bytes and peak memory; `--images 600` for a quick look at it.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.peak import Peak
from wsss_methods import get
from wsss_platform.config import DataConfig, SampleConfig
from wsss_platform.engine.cluster import SETTINGS, connect
from wsss_platform.engine.runner import RayRunner
from wsss_platform.plan.experiment import Experiment
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.pipeline import Event, StageEnd, StageProgress, run
from wsss_platform.store.artefacts import Store

IMAGES, TRAINED, SIZE = 10_582, 64, 64
"""VOC's train_aug; images of the split that is trained on; pixels."""
QUARTERS = 4
LOG = Console(stderr=True)


@dataclass
class Measured:
    """One run."""

    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    """Kind of stage -> seconds; maps, masks and score run beside each other."""
    memory: list[float] = field(default_factory=list)
    """MB of this process alone when each quarter of the maps was there."""
    peak: float = 0.0
    """MB of this process and of shared memory."""
    killed: str = ""


def experiment(images: int) -> Experiment:
    """Plain CAM, trained on the small split and scored on the large one, with IRN's CRF."""
    method = get("cam")
    config = method.config.model_validate(
        {
            "backbone": {"weights": "none"},
            "train": {"epochs": 1, "batch": 8, "crop": SIZE},
            "maps": {"scales": [1.0], "flip": False},
            "masks": {"crf": "irn"},
        }
    )
    sample = SampleConfig(train=images, val=TRAINED, size=SIZE)
    return Experiment(method, config, DataConfig(sample=sample, train_list="val", score_list="train"))


def main() -> None:
    """Run both, compare them, print a table; exit code 1 where they differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--images", type=int, default=IMAGES, help=f"images of the scored split (default {IMAGES})")
    parser.add_argument("--folder", type=Path, help="keep both storage folders here")
    arguments = parser.parse_args()
    os.environ.update(SETTINGS)
    with tempfile.TemporaryDirectory(prefix="wsss-scale-") as temporary:
        folder = arguments.folder or Path(temporary)
        asked = experiment(arguments.images)
        whole, broken = Store(folder / "undisturbed"), Store(folder / "killed")
        LOG.print(f"training on {TRAINED} images")
        run(asked, whole, LocalRunner(threads=2), until=asked.stage("train"))
        shutil.copytree(whole.root, broken.root)
        measured = {"undisturbed": _measured(asked, whole, kill=False)}
        measured["one of 2 raylets killed"] = _measured(asked, broken, kill=True)
        different = list(_differences(whole.root / "stages", broken.root / "stages"))
        Console().print(_table(arguments.images, measured))
        files = [path for path in (whole.root / "stages").rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        print(f"{len(files)} files, {size / 1e6:.1f} MB in the store")
        said = f"{len(different)} files differ, the first: {different[0]}" if different else "equal, byte for byte"
        print(f"maps, masks and counts of both: {said}")
        sys.exit(1 if different else 0)


def _measured(asked: Experiment, store: Store, *, kill: bool) -> Measured:
    """Run on a head without CPUs and two raylets of one CPU."""
    from ray.cluster_utils import Cluster

    found, memory = Measured(), {"object_store_memory": 128 * 1024**2}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **memory})
    try:
        nodes = [cluster.add_node(num_cpus=1, **memory) for _ in range(2)]

        def lose_one() -> None:
            cluster.remove_node(nodes[1], allow_graceful=False)
            found.killed = "at half of the maps"

        with connect(cluster.address), Peak() as peak:
            start = time.monotonic()
            run(asked, store, RayRunner(), _watcher(found, asked, lose_one if kill else None))
            found.seconds = time.monotonic() - start
        found.peak = peak.whole
    finally:
        cluster.shutdown()
    return found


def _watcher(found: Measured, asked: Experiment, lose_one: Callable[[], None] | None) -> Callable[[Event], None]:
    images = asked.data.sample.train

    def watch(event: Event) -> None:
        if isinstance(event, StageEnd) and not event.cached:
            found.stages[event.stage.kind] = event.seconds
        if isinstance(event, StageProgress) and event.stage.kind == "maps":
            share = event.done / images
            if share * QUARTERS >= len(found.memory) + 1:
                found.memory.append(_private())
                LOG.print(f"maps {event.done}/{images}, this process {found.memory[-1]:.0f} MB")
            if lose_one is not None and not found.killed and share >= 0.5:
                LOG.print("killing a raylet")
                lose_one()

    return watch


def _private() -> float:
    """MB of this process alone."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) / 1e3


def _differences(one: Path, other: Path) -> Iterator[str]:
    """Files that are not the same in both; manifests say how long a stage took and are left out."""
    names = {path.relative_to(root).as_posix() for root in (one, other) for path in root.rglob("*") if path.is_file()}
    for name in sorted(names):
        if name.endswith(("manifest.json", ".lock")):
            continue
        both = (one / name).is_file() and (other / name).is_file()
        if not both or not filecmp.cmp(one / name, other / name, shallow=False):
            yield name


def _table(images: int, measured: dict[str, Measured]) -> Table:
    table = Table(title=f"{images} images of {SIZE} pixels: maps -> masks (CRF) -> score, 2 raylets of one CPU")
    for name in ("run", "seconds", "images/s", "memory at each quarter, MB", "peak with shared memory, MB"):
        table.add_column(name)
    for name, one in measured.items():
        memory = ", ".join(f"{value:.0f}" for value in one.memory)
        table.add_row(name, f"{one.seconds:.0f}", f"{images / one.seconds:.1f}", memory, f"{one.peak:.0f}")
    return table


if __name__ == "__main__":
    main()
