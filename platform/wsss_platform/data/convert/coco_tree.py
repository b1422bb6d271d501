"""COCO's annotations -> a tree of images, masks, lists and labels that every reader here takes."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from filelock import FileLock, Timeout
from PIL import Image

from wsss_platform.data.convert.annotations import write_label_json
from wsss_platform.data.convert.coco import AnnotatedImage, Annotations, paint
from wsss_platform.data.convert.coco_outline import library
from wsss_platform.data.reading import image_size
from wsss_platform.data.sample.tree import voc_palette
from wsss_platform.errors import InputError, RunError
from wsss_platform.store.artefacts import write_atomic

_AT_ONCE = 64  # images per task of a worker process
SOURCE = "source.json"
"""In the tree: which annotation files it was made of."""


def check_target(folder: Path) -> None:
    """InputError when a tree cannot be made there: to be called before annotations are read."""
    library()
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()) or (folder.is_dir() and any(folder.iterdir())):
        raise InputError(f"{folder}: there is something; a tree is written into a new folder", field=folder)


def convert(
    splits: Mapping[str, Annotations],
    folder: Path,
    name: str,
    show: Callable[[int, int], None],
    *,
    copy: bool = False,
    processes: int | None = None,
) -> None:
    """Write JPEGImages, SegmentationClass (palette PNG), ImageSets/Segmentation and image_level_labels.json.

    All is made beside the folder, which appears when it is whole; after an interruption the same call goes on.

    Args:
        splits: list name -> its annotations.
        folder: to create.
        name: of the data set, such as "coco2014": every score's protocol will say it.
        show: told (images done, of how many).
        copy: copy the images instead of linking to them.
        processes: that paint; None is one per core that this process may use.

    Raises:
        InputError: the folder is not new, another process is at it, the splits have other classes or an image in
            common, an image is missing or has another size, or a file cannot be written.
        RunError: a process that paints was killed.
    """
    folder = folder.absolute()
    check_target(folder)
    paths = ", ".join(str(split.path) for split in splits.values())
    classes = {split.classes for split in splits.values()}
    if len(classes) != 1:
        raise InputError(f"the annotation files have different categories: {paths}")
    images = [image for split in splits.values() for image in split.images]
    if len({image.id for image in images}) < len(images):
        raise InputError(f"an image is in two splits: {paths}")
    try:
        _check_there(images)
        said = json.dumps({list_name: _identity(split.path) for list_name, split in splits.items()}, indent=1) + "\n"
        partial = folder.with_name(f".{folder.name}.{hashlib.sha256(said.encode()).hexdigest()[:12]}.partial")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0):
            for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
                (partial / part).mkdir(parents=True, exist_ok=True)
            for done in _made(images, partial, copy, processes or _cores()):
                show(done, len(images))
            for list_name, split in splits.items():
                lines = "".join(f"{image.id}\n" for image in split.images)
                write_atomic(partial / "ImageSets" / "Segmentation" / f"{list_name}.txt", lines)
            (ordered,) = classes
            labels = {image.id: [ordered[value - 1] for value in image.values()] for image in images}
            write_label_json(partial / "image_level_labels.json", ordered, labels, name=name)
            write_atomic(partial / SOURCE, said)
            for cut_off in partial.rglob(".*.tmp"):  # of a killed process
                cut_off.unlink()
            os.replace(partial, folder)  # noqa: PTH105 (also over an empty folder)
    except Timeout:
        raise InputError(f"{folder}: another process is making it", field=folder) from None
    except OSError as error:
        raise InputError(f"{error.filename or folder}: {error.strerror}", field=error.filename or folder) from None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_there(images: list[AnnotatedImage]) -> None:
    """Before hours of painting: every image's file is listed in its folder."""
    listed: set[str] = set()
    for folder in {image.file.parent for image in images}:
        with os.scandir(folder) as entries:
            listed |= {entry.path for entry in entries}
    missing = [image.file for image in images if str(image.file) not in listed]
    if missing:
        more = f" (and {len(missing) - 1:,} more)" if missing[1:] else ""
        raise InputError(f"{missing[0]}: no such image, but it is in the annotations{more}", field=missing[0])


def _identity(path: Path) -> dict[str, str | int]:
    stat = path.stat()
    return {"annotations": str(path.resolve()), "bytes": stat.st_size, "changed_ns": stat.st_mtime_ns}


def _made(images: list[AnnotatedImage], partial: Path, copy: bool, processes: int) -> Iterator[int]:
    """Make what is not there yet; how many are there, again and again."""
    there = {path.stem for path in (partial / "SegmentationClass").glob("*.png")}
    tasks = [images[first : first + _AT_ONCE] for first in range(0, len(images), _AT_ONCE)]
    done = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        todo = [[image for image in task if image.id not in there] for task in tasks]
        waiting = [pool.submit(_paint_all, task, partial / "SegmentationClass") if task else None for task in todo]
        try:
            for task, result in zip(tasks, waiting, strict=True):
                for image in task:
                    _place(image.file, partial / "JPEGImages" / f"{image.id}.jpg", copy)
                if result is not None:
                    result.result()
                done += len(task)
                yield done
        except BrokenProcessPool:
            raise RunError(
                f"a process that paints images near {task[0].id} to {task[-1].id} was killed (out of memory?); "
                "the same command goes on"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _paint_all(images: list[AnnotatedImage], folder: Path) -> None:
    palette = voc_palette().tobytes()
    for image in images:
        size, said = image_size(image.file), (image.height, image.width)
        if size != said:
            raise InputError(
                f"{image.file}: {size[1]} x {size[0]} pixels, but its annotations are of {said[1]} x {said[0]}",
                field=image.file,
            )
        mask = Image.fromarray(paint(image))
        mask.putpalette(palette)
        buffer = io.BytesIO()
        mask.save(buffer, format="PNG")
        write_atomic(folder / f"{image.id}.png", buffer.getvalue())


def _place(source: Path, target: Path, copy: bool) -> None:
    """The image in the tree, unless it is there as asked."""
    if copy:
        if target.is_symlink() or not target.is_file() or target.stat().st_size != source.stat().st_size:
            write_atomic(target, source.read_bytes())
    elif not (target.is_symlink() and target.readlink() == source.resolve()):
        target.unlink(missing_ok=True)
        target.symlink_to(source.resolve())
