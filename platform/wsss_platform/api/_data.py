"""Data sets: the built-in sample, VOC 2012, COCO 2014, and a folder in either form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_platform.errors import InputError

if TYPE_CHECKING:
    from wsss_platform.config import DataConfig


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
    """COCO 2014 as a tree that `wsss.convert_coco` wrote: class masks, image-level labels and splits.

    Args:
        root: the converted folder.
        train: name of the split that is trained on.
        score: name of the split that is scored; None: the same one.

    Raises:
        InputError: a folder of COCO itself, which has to be converted first, no such tree, or an unknown split.
    """
    place = Path(root).expanduser()
    if (place / "annotations").is_dir() and not (place / "JPEGImages").is_dir():
        raise InputError(
            f"{place}: COCO as it is distributed; convert it once: wsss-platform data convert-coco {place} FOLDER",
        )
    return voc12(root, train, score)


def open_data(folder: str | Path, train: str = "train", score: str | None = None) -> Data:
    """A folder with images, image-level labels and splits: a VOC tree, or a converted COCO.

    Args:
        folder: of the tree.
        train: name of the split that is trained on.
        score: name of the split that is scored; None: the same one.

    Raises:
        InputError: neither of the two, or an unknown split.
    """
    return coco2014(folder, train, score)


def data_named(
    kind: str,
    root: str = "",
    train: str | None = None,
    score: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Data:
    """The data set that a command line names: "sample" or "voc12", the folder of the latter, and data.PATH -> value.

    Raises:
        InputError: unknown data, no folder for voc12, or a setting that is none of the data.
    """
    from wsss_platform.api.experiments import apart, build_data
    from wsss_platform.config import DataConfig

    other, changes = apart(settings or {})
    for path in other:
        raise InputError(f"--set {path}: this verb takes data.PATH=VALUE only", field=path)
    return Data(build_data(DataConfig(), changes, kind=kind, root=root, train_list=train, score_list=score))


def data_of(given: Data | str | Path | None) -> DataConfig:
    """The data section of what a call was given: a data set, a folder, or nothing for the sample."""
    if given is None:
        return sample().config
    return given.config if isinstance(given, Data) else open_data(given).config


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
