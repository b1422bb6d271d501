"""What a folder holds, by the files in it: a VOC tree, COCO, or images with a label file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wsss_platform.config.words import counted
from wsss_platform.data.convert.coco import annotations_in
from wsss_platform.data.image_folder import label_files
from wsss_platform.data.image_labels import IMAGE_ENDINGS
from wsss_platform.errors import InputError

PREFIXES = {"voc": "voc12", "coco": "coco", "images": "images"}
"""What forces a kind, in "PREFIX:DIR" -> the kind, as `DataConfig.kind` has it."""
NEEDS = {
    "voc": "a VOC tree needs JPEGImages and ImageSets/Segmentation",
    "coco": "COCO needs annotations/instances_train2014.json (or val, or 2017) and train2014 with the images",
    "images": "a folder of images needs labels.csv, labels.json or labels.npy",
}
TITLES = {"voc12": "a VOC tree", "coco": "a COCO folder", "images": "a folder of images"}
"""Kind -> what it is called."""
_FITS: dict[str, Callable[[Path], bool]] = {
    "voc": lambda folder: (folder / "JPEGImages").is_dir() and (folder / "ImageSets" / "Segmentation").is_dir(),
    "coco": lambda folder: bool(annotations_in(folder)),
    "images": lambda folder: bool(label_files(folder)),
}
_HINTS = ("VOC2012", "VOCdevkit/VOC2012", "..")
_SHOWN = 8


def recognise(folder: Path) -> str:
    """The kind of a folder: "voc12", "coco" or "images".

    Raises:
        InputError: no such folder, one that fits several kinds (with what forces each), or none (with what was found
            and what each kind needs), or one that may not be read.
    """
    try:
        return _recognised(folder)
    except PermissionError:
        told = f"{folder}: may not be read; expected a folder that this user may read"
        raise InputError(told, field=folder) from None


def _recognised(folder: Path) -> str:
    if not folder.is_dir():
        raise InputError(f"{folder}: {'a file' if folder.exists() else 'no such folder'}; expected a folder of data")
    fitting = _fitting(folder)
    if len(fitting) == 1:
        return PREFIXES[fitting[0]]
    if fitting:
        forms = " or ".join(f"{prefix}:{folder}" for prefix in fitting)
        titles = " and ".join(TITLES[PREFIXES[prefix]] for prefix in fitting)
        raise InputError(f"{folder}: it is {titles} at once; say which: {forms}")
    near = next((folder / hint for hint in (*_HINTS, *_inner(folder)) if _may_be_meant(folder / hint)), None)
    meant = f"; did you mean {near.resolve()}?" if near else "."
    raise InputError(f"{folder}: no data set{meant} It holds {_contents(folder)}; {'; '.join(NEEDS.values())}")


def fits(kind: str, folder: Path) -> bool:
    """Whether a folder has what a kind needs; of "", which any of them needs."""
    return any(_FITS[prefix](folder) for prefix, known in PREFIXES.items() if kind in ("", known))


def named(data: str, root: str = "") -> tuple[str, str]:
    """(kind, folder) of what a person gives as data; the kind is "" where the folder has to be recognised.

    Args:
        data: "sample", a folder, "voc:DIR", "coco:DIR" or "images:DIR"; or, with `root`, a kind.
        root: folder of a kind; with "sample" a folder to recognise.

    Raises:
        InputError: two folders.
    """
    found = forced(data)
    is_folder = data != "sample" and not root and Path(data).expanduser().is_dir()
    if found is None and data in ("sample", *PREFIXES.values()) and not is_folder:
        found = ("" if data == "sample" and root else data, root)
    elif root:
        raise InputError(f"--data {data}: --root {root} names another folder; expected one", field="--root")
    return found or ("", data)


def forced(text: str) -> tuple[str, str] | None:
    """(kind, folder) of "voc:DIR", "coco:DIR" or "images:DIR"; None of any other text."""
    prefix, colon, folder = text.partition(":")
    if not colon or prefix not in PREFIXES:
        return None
    if not folder:
        raise InputError(f"{text!r}: expected a folder after the colon, such as {prefix}:DIR")
    return PREFIXES[prefix], folder


def as_said(kind: str, root: str) -> str:
    """What names this data set on the command line, such as "coco:DIR"; the kind where it has no folder."""
    prefix = next((prefix for prefix, known in PREFIXES.items() if known == kind), None)
    return f"{prefix}:{root}" if prefix else kind


def _fitting(folder: Path) -> list[str]:
    return [prefix for prefix, fits in _FITS.items() if fits(folder)]


def _may_be_meant(folder: Path) -> bool:
    try:
        return bool(_fitting(folder))
    except PermissionError:
        return False


def _inner(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())[:100]


def _contents(folder: Path) -> str:
    """What lies in a folder, in a few words."""
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    images = [name for name in names if name.lower().endswith(IMAGE_ENDINGS)]
    others = [name for name in names if name not in images]
    parts = [counted(len(images), "image")] if images else []
    parts += others[:_SHOWN] + ([f"{len(others) - _SHOWN} more"] if others[_SHOWN:] else [])
    return ", ".join(parts) or "nothing"
