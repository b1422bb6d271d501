"""Parts of a split (or of a part), by name: a run can see the ground truth of some images and be scored on the others.

    train:held-out-3   images of "train" that hold at least 3 of each class (fewer where the split has fewer)
    train:rest-3       the images of "train" that are not in train:held-out-3
    train:half-1       every second image of "train" in the order of a hash of its id; train:half-2 the others
    train:spread-64    at most 64 images of "train", evenly spread

Who is held out depends on ids and image-level labels alone, never on masks. Ours.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wsss_platform.data.split import NO_TRUTH, Dataset, Sample, Split, Truth
from wsss_platform.errors import InputError, unknown

KINDS = ("held-out", "rest", "half", "spread")
HALVES = (1, 2)
_NAME = re.compile(r"(?P<base>.+):(?P<kind>[a-z-]+)-(?P<count>\d{1,9})")


def part_name(base: str, kind: str, count: int) -> str:
    """The name of a part, such as "train:rest-3"; InputError for a kind or a count that does not exist."""
    if kind not in KINDS:
        raise unknown("part of a split", kind, KINDS)
    if count < 1:
        raise InputError(f"{base}:{kind}-{count}: expected a count of at least 1", field=f"{base}:{kind}-{count}")
    if kind == "half" and count not in HALVES:
        raise InputError(f"{base}:half-{count}: expected half-1 or half-2", field=f"{base}:half-{count}")
    return f"{base}:{kind}-{count}"


def base_of(name: str) -> str:
    """The split that a part is cut from; a whole split's own name."""
    found = _NAME.fullmatch(name)
    return found["base"] if found else name


def held_out(split: Split, per_class: int) -> tuple[str, ...]:
    """Ids of `split` with at least `per_class` images of each class, in the order of the split.

    Images are visited in the order of a hash of their id; one is taken when a class of it still lacks images, so
    an image of two classes counts for both, and a common class may get more than it needs.
    """
    missing = np.full(len(split.classes), per_class)
    taken: set[str] = set()
    for name in sorted(split.ids, key=_draw):
        labels = split.labels(name)
        if np.any(missing[labels] > 0):
            taken.add(name)
            missing[labels] -= 1
    return tuple(name for name in split.ids if name in taken)


def half(ids: Sequence[str], number: int) -> tuple[str, ...]:
    """Half of the ids, in their order.

    Args:
        ids: of a split.
        number: 1 or 2. With an odd number of ids the first half has one more.
    """
    ordered = sorted(ids, key=_draw)
    kept = frozenset(ordered[number - 1 :: 2])
    return tuple(name for name in ids if name in kept)


def _draw(name: str) -> bytes:
    """A hash of an id, whose order is a draw that every machine makes alike."""
    return hashlib.sha256(name.encode()).digest()


def spread(ids: Sequence[str], count: int) -> tuple[str, ...]:
    """At most `count` ids, evenly spread over a split."""
    return tuple(ids) if len(ids) <= count else tuple(ids[index * len(ids) // count] for index in range(count))


@dataclass(frozen=True)
class SplitPart:
    """Some images of a split; see `Split`."""

    whole: Split
    name: str
    ids: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the whole split."""
        return self.whole.classes

    @property
    def labels_from(self) -> str:
        """Of the whole split."""
        return self.whole.labels_from

    def labels(self, id: str) -> NDArray[np.bool_]:
        """Image-level labels bool [C]."""
        return self.whole.labels(self._checked(id))

    def size(self, id: str) -> tuple[int, int]:
        """(height, width) of an image in pixels."""
        return self.whole.size(self._checked(id))

    def read(self, id: str) -> Sample:
        """Decode one image."""
        return self.whole.read(self._checked(id))

    def saliency(self, id: str) -> NDArray[np.uint8]:
        """Saliency of an image: uint8 [H, W]."""
        return self.whole.saliency(self._checked(id))

    def fingerprint(self) -> str:
        """sha256 over the whole split's fingerprint and the ids of this part."""
        return _digest(self.whole.fingerprint(), self.ids)

    def saliency_fingerprint(self) -> str:
        """The same of the saliency maps."""
        return _digest(self.whole.saliency_fingerprint(), self.ids)

    def _checked(self, id: str) -> str:
        if id not in self._known:
            raise InputError(f"image {id!r} is not in the split {self.name}", field=id)
        return id

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.ids)


@dataclass(frozen=True)
class TruthPart:
    """Ground truth of some images of a split; that of the others is refused. See `Truth`."""

    whole: Truth
    name: str
    ids: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the whole split."""
        return self.whole.classes

    def mask(self, id: str) -> NDArray[np.uint8]:
        """uint8 [H, W]; InputError for an image outside of this part."""
        if id not in self._known:
            raise InputError(
                f"the ground truth of image {id!r} is not in {self.name}, which is all that may be seen here", field=id
            )
        return self.whole.mask(id)

    def fingerprint(self) -> str:
        """sha256 over the whole ground truth's fingerprint and the ids of this part."""
        whole = self.whole.fingerprint()
        return whole if whole == NO_TRUTH else _digest(whole, self.ids)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.ids)


@dataclass(frozen=True)
class PartedDataset:
    """A data set whose splits also have parts. See `Dataset`."""

    whole: Dataset
    _found: dict[str, tuple[str, ...] | None] = field(default_factory=dict, compare=False, repr=False)
    _splits: dict[str, Split] = field(default_factory=dict, compare=False, repr=False)
    _truths: dict[str, Truth] = field(default_factory=dict, compare=False, repr=False)

    @property
    def name(self) -> str:
        """Of the whole data set."""
        return self.whole.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the C foreground classes."""
        return self.whole.classes

    def lists(self) -> Mapping[str, int]:
        """The whole splits and their lengths."""
        return self.whole.lists()

    def split(self, name: str) -> Split:
        """A split or a part of one. Read once, and pickled with the data set: it is asked for with every chunk.

        Raises:
            InputError: no such split or kind of part (with the nearest name), or a part without images.
        """
        if name not in self._splits:
            ids = self._ids(name)
            self._splits[name] = (
                self.whole.split(name) if ids is None else SplitPart(self.split(base_of(name)), name, ids)
            )
        return self._splits[name]

    def truth(self, name: str) -> Truth:
        """The ground truth of a split or of a part; read once."""
        if name not in self._truths:
            ids = self._ids(name)
            self._truths[name] = (
                self.whole.truth(name) if ids is None else TruthPart(self.truth(base_of(name)), name, ids)
            )
        return self._truths[name]

    def _ids(self, name: str) -> tuple[str, ...] | None:
        """The images of a part; None when the name is that of a whole split."""
        if name not in self._found:
            self._found[name] = self._cut(name)
        return self._found[name]

    def _cut(self, name: str) -> tuple[str, ...] | None:
        found = _NAME.fullmatch(name)
        if found is None or name in self.whole.lists():
            return None
        part_name(found["base"], found["kind"], int(found["count"]))
        split, count = self.split(found["base"]), int(found["count"])
        if found["kind"] == "spread":
            return spread(split.ids, count)
        if found["kind"] == "half":
            if len(split.ids) < 2:
                raise InputError(f"{name}: {found['base']} has one image, which makes no halves", field=name)
            return half(split.ids, count)
        known = held_out(split, count)
        if found["kind"] == "held-out":
            return known
        kept = frozenset(known)
        rest = tuple(id for id in split.ids if id not in kept)
        if not rest:
            raise InputError(f"{name}: all {len(split.ids)} images are held out; hold out fewer per class", field=name)
        return rest


def _digest(whole: str, ids: Sequence[str]) -> str:
    return hashlib.sha256("\n".join((whole, *ids)).encode()).hexdigest()
