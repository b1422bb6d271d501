"""Stored maps to scored masks by two workers: our line of chunks against the usual ways to do it in parallel.

Wall clock, since the question is how well two workers are kept busy; sides run in turn on one warm Ray cluster. The
others read full-size float32 .npy maps, as their repositories store them, and run pydensecrf: IRN's two passes.
"""

from __future__ import annotations

import functools
import itertools
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.images import PreparedImage, voc_root
from benchmarks.measure import Row
from wsss_methods import get
from wsss_platform.config import DataConfig, SampleConfig
from wsss_platform.data import open_data
from wsss_platform.data.palette import write_mask
from wsss_platform.engine.cluster import connect
from wsss_platform.engine.runner import RayRunner
from wsss_platform.maps.storage import maps_file, write_maps
from wsss_platform.masks.crf.dense_crf import PARAMETERS, refine
from wsss_platform.masks.rules import merge, named, over
from wsss_platform.plan.experiment import Experiment
from wsss_platform.run.chunks.images import chunks_of
from wsss_platform.run.pipeline import run
from wsss_platform.store.artefacts import Store

WORKERS, ROUNDS, IMAGES, COPIES, MORE_COPIES = 2, 2, 16, 4, 64
MANY = 2000
"""Images of the memory row."""
CRF = {"rule": "two_threshold", "crf": "irn", "crf_backend": "auto"}
PLAIN: dict[str, Any] = {}
LINE = "stored maps -> two-pass CRF -> masks -> score"
_NUMBERS = itertools.count()


def rows(images: list[PreparedImage], classes: int, folder: Path) -> Iterator[Row]:
    """Speed with the CRF, then memory and the cost per image without."""
    some = Material(images[:IMAGES], folder / "some", COPIES)
    with connect("local", cpus=WORKERS):
        yield from _speed(some, folder)
        yield _beside_plain_processes(Material(images[:IMAGES], folder / "many", MORE_COPIES, full=False), folder)
    yield from _memory(images, folder)


class Material:
    """Copies of the benchmark's images as a VOC tree, and their maps in both forms."""

    def __init__(self, images: Sequence[PreparedImage], folder: Path, copies: int, full: bool = True) -> None:
        self.root, self.arrays = folder / "VOC2012", folder / "npy"
        for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (self.root / part).mkdir(parents=True)
        self.arrays.mkdir()
        self.ids = [f"copy{number:03d}_{image.id}" for number in range(copies) for image in images]
        (self.root / "ImageSets/Segmentation/train.txt").write_text("\n".join(self.ids) + "\n")
        self.images = dict(zip(self.ids, [*images] * copies, strict=True))
        for image in images:
            self._write(image, [id for id in self.ids if self.images[id] is image], full)

    def _write(self, image: PreparedImage, ids: list[str], full: bool) -> None:
        """The first copy; the others are links to it."""
        first = {
            "JPEGImages/{}.jpg": lambda path: path.write_bytes(_jpeg(image)),
            "SegmentationClass/{}.png": lambda path: write_mask(path, image.truth),
        }
        for pattern, write in first.items():
            write(self.root / pattern.format(ids[0]))
            for id in ids[1:]:
                os.link(self.root / pattern.format(ids[0]), self.root / pattern.format(id))
        if full:
            np.save(self.arrays / f"{ids[0]}.npy", image.high_res())
            for id in ids[1:]:
                os.link(self.arrays / f"{ids[0]}.npy", self.arrays / f"{id}.npy")

    def experiment(self, masks: dict[str, Any]) -> Experiment:
        data = DataConfig(kind="voc12", root=str(self.root), train_list="train", score_list="train", labels="masks")
        method = get("cam")
        return Experiment(method, method.config.model_validate({"masks": masks}), data)

    def store(self, folder: Path, experiment: Experiment) -> Store:
        """A store that holds the maps."""
        store, maps = Store(folder), experiment.stage("maps")
        with store.building("maps", maps.key) as partial:
            assert partial is not None
            for chunk in chunks_of(self.ids):
                items = [(id, self.images[id].stored()) for id in chunk.ids]
                write_maps(maps_file(partial, chunk.index), [_renamed(item, id) for id, item in items])
            store.commit("maps", maps.key, {"seconds": 0})
        return store


def _renamed(item: Any, id: str) -> Any:
    from dataclasses import replace

    return replace(item, id=id)


def _jpeg(image: PreparedImage) -> bytes:
    root = voc_root()
    if root is not None:
        return (root / "JPEGImages" / f"{image.id}.jpg").read_bytes()
    import io

    image = open_data(DataConfig(sample=SampleConfig(size=500, train=10_000))).split("train").read(image.id).image
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _speed(some: Material, folder: Path) -> Iterator[Row]:
    """Two-pass CRF, masks and scores of the same images."""
    experiment, same = some.experiment(CRF), some.experiment({**CRF, "crf_backend": "pydensecrf"})
    sides = [
        _ours(some, experiment, folder),
        _ours(some, same, folder),
        lambda: functools.partial(_one_task_per_image, some, new_folder(folder)),
        lambda: functools.partial(_all_labels, some, new_folder(folder)),
    ]
    sides[0]()()  # compiled, and the cluster's processes are warm
    own, with_reference, one_by_one, all_labels = (seconds / len(some.ids) * 1e3 for seconds in _in_turn(sides))
    for what, mine, theirs, asked in (
        ("vs one Ray task per image", own, one_by_one, 1.5),
        ("vs one Ray task per image, both pydensecrf", with_reference, one_by_one, None),
        ("vs process pool, all 21 labels", own, all_labels, 3),
    ):
        yield Row(f"{LINE} {what}", mine, theirs, "ms", asked, note=_note(some))


def _beside_plain_processes(many: Material, folder: Path) -> Row:
    """So many images that starting a run counts as little as in a run over a dataset."""
    experiment = many.experiment(CRF)
    sides = [_ours(many, experiment, folder), _plain(many, experiment, folder)]
    own, two = (seconds / len(many.ids) * 1e3 for seconds in _in_turn(sides))
    limit = "our functions in two plain processes that share nothing"
    return Row(f"{LINE} vs two plain processes, same work", own, two, "ms", 0.95, two / own, limit, note=_note(many))


def _note(material: Material) -> str:
    return (
        f"{len(material.ids)} images of about 375x500, {WORKERS} workers, wall clock, medians of {ROUNDS}; "
        "what is read lies on the disk before"
    )


Side = Callable[[], Callable[[], object]]
"""Prepares one run, which is not timed, and returns it."""


def _ours(some: Material, experiment: Experiment, folder: Path) -> Side:
    if len(chunks_of(some.ids)) % WORKERS:
        raise AssertionError("the chunks do not go up evenly in the workers")
    return lambda: functools.partial(
        run, experiment, some.store(new_folder(folder), experiment), RayRunner(actors=WORKERS)
    )


def _plain(some: Material, experiment: Experiment, folder: Path) -> Side:
    def work(store: Store) -> None:
        halves = [some.ids[start::WORKERS] for start in range(WORKERS)]
        processes = [_FORK.Process(target=_half, args=(experiment, store.root, half)) for half in halves]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            if process.exitcode:
                raise RuntimeError("a plain process failed")

    return lambda: functools.partial(work, some.store(new_folder(folder), experiment))


def new_folder(folder: Path) -> Path:
    """A folder that is not there yet."""
    return folder / f"run{next(_NUMBERS)}"


def _in_turn(sides: Sequence[Side]) -> list[float]:
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(ROUNDS):
        for side, own in zip(sides, times, strict=True):
            work = side()
            start = time.monotonic()
            work()
            own.append(time.monotonic() - start)
    return [statistics.median(own) for own in times]


_FORK = multiprocessing.get_context("fork")


def _half(experiment: Experiment, root: Path, ids: Sequence[str]) -> None:
    """What a user would start twice by hand: the same functions over a part of the list, into a store of its own."""
    from wsss_platform.run.chunks.masks import MasksWork
    from wsss_platform.run.chunks.score import ScoreWork

    maps = Store(root).open("maps", experiment.stage("maps").key).folder
    folder = root / f"half{os.getpid()}"
    folder.mkdir()
    phase, wanted = experiment.phases[-1], set(ids)
    masks = MasksWork(experiment, phase, "train", folder, maps=maps)
    score = ScoreWork(experiment, phase, "train", folder, maps=maps, masks=folder)
    from wsss_platform.plan.jobs import Chunk

    for chunk in chunks_of(experiment.dataset.split("train").ids):
        mine = Chunk(chunk.index, tuple(id for id in chunk.ids if id in wanted))
        masks(mine), score(mine)


def _two_passes(image: NDArray[np.uint8], scores: NDArray[np.float32], classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """IRN's cam_to_ir_label: a fresh pydensecrf per pass."""
    passes = [refine(image, [over(scores, limit)], len(scores) + 1, PARAMETERS["irn"], 10)[0] for limit in (0.30, 0.05)]
    foreground, background = (named(item, classes) for item in passes)
    return merge(foreground, background)


def _count(truth: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    keep = truth != 255
    return np.bincount(truth[keep].astype(np.int64) * 256 + mask[keep], minlength=21 * 256)


def _one_task_per_image(some: Material, folder: Path) -> None:
    """One Ray task per image; image, maps and ground truth travel as values, one big get brings the masks home."""
    import ray

    folder.mkdir()

    @ray.remote(num_cpus=1)
    def one(image: Any, scores: Any, classes: Any, truth: Any) -> Any:
        mask = _two_passes(image, scores, classes)
        return mask, _count(truth, mask)

    references = []
    for id in some.ids:
        image = np.asarray(Image.open(some.root / f"JPEGImages/{id}.jpg").convert("RGB"))
        truth = np.asarray(Image.open(some.root / f"SegmentationClass/{id}.png"))
        scores = np.load(some.arrays / f"{id}.npy")
        references.append(one.remote(image, scores, some.images[id].classes, truth))
    results = ray.get(references)
    for id, (mask, _) in zip(some.ids, results, strict=True):
        Image.fromarray(mask).save(folder / f"{id}.png")
    np.sum([table for _, table in results], axis=0)


def _all_labels(some: Material, folder: Path) -> None:
    """A pool of processes over pydensecrf with background and all 20 classes; then one pass over the masks."""
    folder.mkdir()
    work = [
        (some.root / f"JPEGImages/{id}.jpg", some.arrays / f"{id}.npy", some.images[id].classes, folder / f"{id}.png")
        for id in some.ids
    ]
    with ProcessPoolExecutor(WORKERS, mp_context=_FORK) as pool:
        list(pool.map(_with_21_labels, work))
    total = np.zeros(21 * 256, np.int64)
    for id in some.ids:
        truth = np.asarray(Image.open(some.root / f"SegmentationClass/{id}.png"))
        total += _count(truth, np.asarray(Image.open(folder / f"{id}.png")))


def _with_21_labels(item: tuple[Path, Path, NDArray[np.uint8], Path]) -> None:
    path, maps, classes, target = item
    image = np.asarray(Image.open(path).convert("RGB"))
    scores = np.load(maps)
    passes = []
    for limit in (0.30, 0.05):
        start = named(over(scores, limit), classes)
        passes.append(refine(image, [start], 21, PARAMETERS["irn"], 10)[0])
    Image.fromarray(merge(*passes)).save(target)


# --- memory and the cost per image, each side in a fresh driver ---------------------------------------------


def _memory(images: list[PreparedImage], folder: Path) -> Iterator[Row]:
    """Peak memory of driver and object store at 500, 2,000 and 10,000 images, without CRF."""
    ours = {count: _fresh("ours", count) for count in (500, MANY, 10_000)}
    theirs = _fresh("theirs", MANY)
    yield Row(
        f"peak memory at {MANY:,} images vs one Ray task per image, driver above its start and object store",
        ours[MANY]["megabytes"],
        theirs["megabytes"],
        "MB",
        10,
        note="threshold instead of the CRF on both sides",
    )
    note = "masks and scores of stored maps, two workers, wall clock"
    most, few = ours[10_000], ours[500]
    yield Row("cost per image at 10,000 images vs at 500", most["ms"], few["ms"], "ms", 0.9, note=note)
    yield Row(
        "peak memory of driver and object store at 10,000 images vs at 500",
        most["whole"],
        few["whole"],
        "MB",
        0.9,
        note=f"above the driver's start: {most['megabytes']:.1f} MB, {few['megabytes']:.1f} MB",
    )


def _fresh(side: str, count: int) -> dict[str, float]:
    """Measured in a process of its own: {"ms": per image, "megabytes": peak above the start, "whole": peak}."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.producers", side, str(count)], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _alone(side: str, count: int) -> dict[str, float]:
    import tempfile

    from benchmarks.images import load
    from benchmarks.peak import Peak

    images, _, _ = load(20)
    with tempfile.TemporaryDirectory() as text:
        some = Material(images, Path(text) / "some", count // 20, full=side == "theirs")
        experiment = some.experiment(PLAIN)
        store = some.store(Path(text) / "store", experiment)
        with connect("local", cpus=WORKERS, object_store=8 * 2**30 if side == "theirs" else 2**28):
            warm = Material(images[:2], Path(text) / "warm", 1)
            first = warm.experiment(PLAIN)
            run(first, warm.store(Path(text) / "first", first), RayRunner(actors=WORKERS))
            with Peak() as peak:
                start = time.monotonic()
                if side == "ours":
                    run(experiment, store, RayRunner(actors=WORKERS))
                else:
                    _plain_tasks(some, Path(text) / "out")
                seconds = time.monotonic() - start
    return {"ms": seconds / len(some.ids) * 1e3, "megabytes": peak.megabytes, "whole": peak.whole}


def _plain_tasks(some: Material, folder: Path) -> None:
    """As `_one_task_per_image`, with a threshold in the place of the CRF."""
    import ray

    folder.mkdir()

    @ray.remote(num_cpus=1)
    def one(scores: Any, classes: Any, truth: Any) -> Any:
        mask = named(over(scores, 0.3), classes)
        return mask, _count(truth, mask)

    references = []
    for id in some.ids:
        truth = np.asarray(Image.open(some.root / f"SegmentationClass/{id}.png"))
        references.append(one.remote(np.load(some.arrays / f"{id}.npy"), some.images[id].classes, truth))
    results = ray.get(references)
    for id, (mask, _) in zip(some.ids, results, strict=True):
        Image.fromarray(mask).save(folder / f"{id}.png")
    np.sum([table for _, table in results], axis=0)


if __name__ == "__main__":
    print(json.dumps(_alone(sys.argv[1], int(sys.argv[2]))))
