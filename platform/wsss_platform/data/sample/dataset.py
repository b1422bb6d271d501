"""The built-in sample set: images rendered on demand from (seed, split, index), no files, no download.

Ours; what it is made to show is said in `scene`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from wsss_platform.config import SampleConfig, fingerprint
from wsss_platform.data.sample.paint import paint
from wsss_platform.data.sample.saliency import detect
from wsss_platform.data.sample.scene import CLASSES, LISTS, Layers, Scene, lay_out, rasterise
from wsss_platform.data.split import Sample
from wsss_platform.errors import InputError, unknown

__all__ = ["CLASSES", "SampleDataset", "SampleSplit", "SampleTruth"]

REVISION = 1
"""Raised when the same parameters give other images or masks."""
SALIENCY_REVISION = 1
"""Raised when the same parameters give other saliency maps."""


@dataclass(frozen=True)
class _SampleList:
    """One list of the set: ids are "train_00000", "train_00001", ..."""

    config: SampleConfig
    name: str

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the six foreground classes."""
        return CLASSES

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Image ids in order."""
        length = self.config.train if self.name == "train" else self.config.val
        return tuple(f"{self.name}_{index:05d}" for index in range(length))

    def scene(self, id: str) -> Scene:
        """What stands where in an image; InputError when the split has no such id."""
        return _scene(self.config, self.name, self._index(id))

    def _index(self, id: str) -> int:
        list_name, _, digits = id.rpartition("_")
        if (
            list_name == self.name
            and digits.isdecimal()
            and int(digits) < len(self.ids)
            and self.ids[int(digits)] == id
        ):
            return int(digits)
        raise InputError(
            f"sample split {self.name!r} has no image {id!r}: ids are {self.ids[0]} to {self.ids[-1]}", field=id
        )

    def _hash(self, what: str) -> str:
        return fingerprint(
            {"sample": self.config, "what": what, "list": self.name, "classes": CLASSES, "revision": REVISION}
        )


@dataclass(frozen=True)
class SampleSplit(_SampleList):
    """A split with image-level labels; see `Split`."""

    @property
    def labels_from(self) -> str:
        """The scenes know what is in them."""
        return "generator"

    def labels(self, id: str) -> NDArray[np.bool_]:
        """Image-level labels bool [C]."""
        return np.array(_labels(self.config, self.name, self._index(id)))

    def size(self, id: str) -> tuple[int, int]:
        """(height, width) in pixels."""
        scene = self.scene(id)
        return scene.height, scene.width

    def read(self, id: str) -> Sample:
        """Render one image; equal bytes each time."""
        index = self._index(id)
        random = np.random.default_rng((self.config.seed, LISTS.index(self.name), index, 1))
        return Sample(id, paint(self.scene(id), self.config.difficulty, random), self.labels(id))

    def saliency(self, id: str) -> NDArray[np.uint8]:
        """What a simulated detector finds: uint8 [H, W], 0..255; equal bytes each time."""
        random = np.random.default_rng((self.config.seed, LISTS.index(self.name), self._index(id), 2))
        return detect(self.scene(id), self.config.difficulty, random)

    def fingerprint(self) -> str:
        """sha256 of the parameters, the split and the renderer's revision."""
        return self._hash("split")

    def saliency_fingerprint(self) -> str:
        """sha256 of the parameters, the split and the revisions of renderer and detector."""
        return self._hash(f"saliency {SALIENCY_REVISION}")


@dataclass(frozen=True)
class SampleTruth(_SampleList):
    """Ground truth of a split; see `Truth`. Knows more than masks, for measuring what a method repairs."""

    def layers(self, id: str) -> Layers:
        """Mask, parts and instances, each uint8 [H, W]."""
        return rasterise(self.scene(id))

    def mask(self, id: str) -> NDArray[np.uint8]:
        """uint8 [H, W]: 0 background, c + 1 for class c; no ignored pixels."""
        return self.layers(id).mask

    def parts(self, id: str) -> NDArray[np.uint8]:
        """uint8 [H, W]: 0 background, 1 the discriminative emblems, 2 the plain bodies."""
        return self.layers(id).parts

    def instances(self, id: str) -> NDArray[np.uint8]:
        """uint8 [H, W]: 0 background, k + 1 for row k of `boxes`."""
        return self.layers(id).instances

    def boxes(self, id: str) -> NDArray[np.int64]:
        """int64 [K, 5], one row per instance: class index from 0, left, top, right, bottom in pixels, half-open,
        around its visible pixels."""
        scene, instances = self.scene(id), self.instances(id)
        rows = []
        for number, thing in enumerate(scene.things, start=1):
            y, x = np.nonzero(instances == number)
            rows.append((thing.label, x.min(), y.min(), x.max() + 1, y.max() + 1))
        return np.array(rows, dtype=np.int64).reshape(-1, 5)

    def context(self, id: str) -> NDArray[np.bool_]:
        """bool [H, W]: background pixels that show the context of a class which is in the image."""
        scene = self.scene(id)
        kinds = [2 + label for label in scene.contexts if scene.labels[label]]
        context: NDArray[np.bool_] = np.isin(scene.ground, kinds) & (self.mask(id) == 0)
        return context

    def fingerprint(self) -> str:
        """sha256 of the parameters, the split and the renderer's revision."""
        return self._hash("truth")


class SampleDataset:
    """Implements `Dataset`: the splits "train" and "val"."""

    def __init__(self, config: SampleConfig | None = None) -> None:
        self.config = config or SampleConfig()

    @property
    def name(self) -> str:
        """For protocols: "sample" and the hash of its parameters."""
        return f"sample-{fingerprint(self.config)[:8]}"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the six foreground classes."""
        return CLASSES

    def lists(self) -> Mapping[str, int]:
        """ "train" and "val" with their lengths."""
        return {"train": self.config.train, "val": self.config.val}

    def split(self, name: str) -> SampleSplit:
        """A split with image-level labels; InputError with the nearest name when there is none."""
        return SampleSplit(self.config, self._known(name))

    def truth(self, name: str) -> SampleTruth:
        """The ground truth of a split; InputError with the nearest name when there is none."""
        return SampleTruth(self.config, self._known(name))

    def _known(self, name: str) -> str:
        if name not in LISTS:
            raise unknown("split", name, LISTS, name)
        return name


@lru_cache(maxsize=8)
def _scene(config: SampleConfig, list_name: str, index: int) -> Scene:
    """An image and its ground truth are mostly asked for one after the other."""
    return lay_out(config, list_name, index)


@lru_cache(maxsize=100_000)
def _labels(config: SampleConfig, list_name: str, index: int) -> tuple[bool, ...]:
    return tuple(_scene(config, list_name, index).labels.tolist())
