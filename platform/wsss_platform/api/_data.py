"""Data sets: the built-in sample, a VOC tree, COCO, and a folder of images with a label file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_platform.errors import InputError, unknown

if TYPE_CHECKING:
    from wsss_platform.config import DataConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """A data set with the split that is trained on and the one that is scored."""

    config: DataConfig
    """The data section of every experiment on it."""

    @property
    def splits(self) -> dict[str, int]:
        """Name of each split -> its number of images."""
        return dict(self._opened.lists())

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the foreground classes, in the order of their numbers 1, 2, ... in masks."""
        return tuple(self._opened.classes)

    @property
    def _opened(self) -> Any:
        from wsss_platform.data import open_data as opened

        return opened(self.config)

    def __repr__(self) -> str:
        config = self.config
        place = f" in {config.root}" if config.root else ""
        return f"<{config.kind}{place}: trains on {config.train_list!r}, scores {config.score_list!r}>"


def sample(train: int = 160, val: int = 80, *, score: str = "train", size: int = 128, seed: int = 0) -> Data:
    """The built-in generated data set: nothing to download.

    Args:
        train: images in the split "train", on which is trained.
        val: images in the split "val".
        score: name of the split that is scored.
        size: longer side of an image, pixels, 48 to 1024.
        seed: random seed of the images.

    Raises:
        InputError: a number out of range, or an unknown split.
    """
    made = {"train": train, "val": val, "size": size, "seed": seed}
    return _checked(
        {"kind": "sample", "score_list": score, **{f"sample.{name}": value for name, value in made.items()}}
    )


def voc12(root: str | Path, train: str = "train", score: str | None = None, *, saliency: str | Path = "") -> Data:
    """PASCAL VOC 2012 as it is distributed: a folder with JPEGImages, ImageSets and SegmentationClass.

    Args:
        root: that folder, such as "VOCdevkit/VOC2012".
        train: name of the split that is trained on, with image-level labels only.
        score: name of the split that is scored; None: the same one.
        saliency: folder of 8-bit grey PNGs by image id, for methods that take saliency maps; "" for none.

    Raises:
        InputError: no such tree, or an unknown split (with the nearest one).
    """
    place = str(Path(root).expanduser().resolve())
    return _checked(
        {"kind": "voc12", "root": place, "train_list": train, "score_list": score or train, "saliency": str(saliency)}
    )


def coco2014(root: str | Path, train: str = "train", score: str | None = None) -> Data:
    """COCO 2014 as it is distributed, or a tree that `wsss.convert_coco` wrote.

    Args:
        root: the folder that holds `annotations` and `train2014`, or the converted one.
        train: name of the split that is trained on.
        score: name of the split that is scored; None: the same one.

    Raises:
        InputError: no such folder, no annotations or images of 2014, or an unknown split.
    """
    if (Path(root).expanduser() / "JPEGImages").is_dir():
        return voc12(root, train, score)
    return open_data(f"coco:{root}", train, score, year=2014)


def open_data(folder: str | Path, train: str = "train", score: str | None = None, *, year: int = 0) -> Data:
    """The data set in a folder: a VOC tree, COCO as it is distributed, or images with a label file.

    Args:
        folder: which is recognised; "voc:DIR", "coco:DIR" or "images:DIR" says what it is.
        train: name of the split that is trained on.
        score: name of the split that is scored; None: the same one.
        year: release of COCO where a folder holds both, 2014 or 2017; 0: the one that is there.

    Raises:
        InputError: none of them, several of them, or an unknown split.
    """
    kind, place = _found(str(folder))
    fields = {"kind": kind, "root": place, "train_list": train, "score_list": score or train, "year": year}
    return _checked(fields)


def data_named(
    data: str,
    root: str = "",
    train: str | None = None,
    score: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Data:
    """The data set that a command line names: --data and --root, its splits, and data.PATH -> value.

    The log says what a folder was taken for.

    Raises:
        InputError: no such data, a folder that is no data set or several, or a setting that is none of the data.
    """
    from wsss_platform.api.experiments import apart, build_data
    from wsss_platform.config import DataConfig
    from wsss_platform.data.recognise import TITLES

    other, changes = apart(settings or {})
    for path in other:
        raise InputError(f"--set {path}: this verb takes data.PATH=VALUE only", field=path)
    kind, place = _found(data, root)
    if place:
        log.info("data: %s is %s", place, TITLES[kind])
    return Data(build_data(DataConfig(), changes, kind=kind, root=place, train_list=train, score_list=score))


def data_of(given: Data | str | Path | None) -> DataConfig:
    """The data section of what a call was given: a data set, a folder (as `open_data` takes it), or nothing for the
    sample."""
    if given is None or given == "sample":
        return sample().config
    return given.config if isinstance(given, Data) else open_data(given).config


def _found(data: str, root: str = "") -> tuple[str, str]:
    """(kind, folder) of --data and --root; a folder is recognised."""
    from wsss_platform.data.recognise import PREFIXES, named, recognise

    kind, place = named(data, root)
    if kind == "sample" or not place:
        return kind, ""
    folder = Path(place).expanduser().resolve()
    if not kind:
        if not folder.exists() and "/" not in data:
            known = ["sample", *PREFIXES.values(), *(f"{prefix}:DIR" for prefix in PREFIXES), *_folders_like(data)]
            raise unknown("data set or folder (--data)", data, known, "--data")
        kind = recognise(folder)
    return kind, str(folder)


def _folders_like(name: str) -> list[str]:
    """The folder here that a wrong name may have meant."""
    try:
        return get_close_matches(name, [path.name for path in Path.cwd().iterdir() if path.is_dir()], n=1)
    except OSError:
        return []


def _checked(fields: dict[str, Any]) -> Data:
    """The data set with these fields, its splits opened once, so that a wrong name is an error now."""
    from wsss_platform.api.experiments import build_data
    from wsss_platform.config import DataConfig
    from wsss_platform.data import open_data as opened

    config = build_data(DataConfig(), fields)
    dataset = opened(config)
    for name in {config.train_list, config.score_list}:
        dataset.split(name)
    return Data(config)
