"""Is what lies in the store whole? Every file is read by the reader that the platform uses for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wsss_platform.errors import InputError
from wsss_platform.plan.jobs import METRICS, WEIGHTS
from wsss_platform.run.pipeline import FAILURES, SUMMARY
from wsss_platform.store.artefacts import Store, images_of
from wsss_platform.upkeep.inventory import Entry, entries

SAMPLED = 32
"""Masks of an artefact that are decoded unless all are asked for."""


@dataclass(frozen=True)
class Finding:
    """Something about an entry that a reader should know."""

    entry: Entry
    reason: str
    """Names the file."""
    damaged: bool
    """False for what is in order but unfinished or left over."""


def verify(
    store: Store, *, full: bool = False, on_entry: Callable[[Entry], None] = lambda entry: None
) -> list[Finding]:
    """Read what the store holds.

    Args:
        store: to read.
        full: decode every mask, not only `SAMPLED` of each artefact.
        on_entry: called with each entry before it is read.

    Returns:
        What was found, in the order of `inventory.entries`. Parquet files are read whole with their page checksums.
    """
    everything = entries(store)
    keys = {entry.key for entry in everything if entry.state == "finished"}
    dropped = {path.stem for path in (store.root / "stages").glob("*/*.dropped")}
    found = []
    for entry in everything:
        on_entry(entry)
        found += [Finding(entry, reason, damaged) for reason, damaged in _findings(store, entry, keys | dropped, full)]
    return found


def _findings(store: Store, entry: Entry, known: set[str], full: bool) -> Iterator[tuple[str, bool]]:
    if entry.state == "damaged":
        yield f"{entry.path}: no readable manifest of this key", True
    elif entry.state == "partial":
        making = store.held(entry.kind, entry.key)
        yield f"{entry.path}: {'is being made' if making else 'unfinished; the next run goes on from it'}", False
    elif entry.state == "trash":
        yield f"{entry.path}: a deletion that was cut off; `store gc` ends it", False
    elif entry.state == "lock":
        yield (
            f"{entry.path}: {'held by a living process' if store.held(entry.kind, entry.key) else 'stale lock'}",
            False,
        )
    else:
        for role, key in entry.manifest.get("inputs", {}).items():
            if key not in known:
                yield f"{entry.path}: its {role} {key[:12]} are gone, and nobody dropped them knowingly", True
        for problem in _problems(entry, full):
            yield problem, True


def _problems(entry: Entry, full: bool) -> Iterator[str]:
    """What is wrong with the files of a finished artefact."""
    readers: dict[str, Callable[[Entry, bool], int | None]] = {
        "train": _train,
        "maps": _maps,
        "masks": _masks,
        "score": _score,
        "saliency-sweep": _saliencies,
    }
    try:
        images = readers[entry.kind](entry, full) if entry.kind in readers else None
        if (entry.path / FAILURES).exists():
            _read(entry.path / FAILURES, _json)
    except InputError as error:
        yield str(error)
        return
    said = images_of(entry.manifest)
    if images is not None and said is not None and images != said:
        yield f"{entry.path}: holds {images} images, its manifest says {said}"


def _train(entry: Entry, full: bool) -> None:
    from wsss_platform.train.checkpoint import read_torch
    from wsss_platform.train.record import read_epochs

    if not isinstance(read_torch(entry.path / WEIGHTS).get("model"), dict):
        raise InputError(f"{entry.path / WEIGHTS}: holds no model", field=entry.path / WEIGHTS)
    _read(entry.path / METRICS, read_epochs)


def _maps(entry: Entry, full: bool) -> int:
    from wsss_platform.maps.storage import read_maps

    return sum(1 for path in sorted(entry.path.glob("maps-*.parquet")) for _ in read_maps(path))


def _masks(entry: Entry, full: bool) -> int:
    from PIL import Image

    from wsss_platform.data.palette import read_mask

    def whole(path: Path) -> None:
        with Image.open(path) as image:
            image.verify()  # the checksums, which the reader of masks leaves alone

    files = sorted((entry.path / "masks").glob("*.png"))
    for path in files if full else spread(files, SAMPLED):
        _read(path, whole)
        read_mask(path)
    return len(files)


def _score(entry: Entry, full: bool) -> int:
    from wsss_platform.scores.counts import read_confusions, read_sweeps

    _read(entry.path / SUMMARY, _json)
    counted = sum(len(part.ids) for part in read_confusions(entry.path))
    if "maps" not in entry.manifest.get("inputs", {"maps": ""}):  # imported masks are not swept
        return counted
    swept = sum(len(part.ids) for part in read_sweeps(entry.path))
    if counted != swept:
        raise InputError(
            f"{entry.path}: {counted} images in confusion-*.parquet, {swept} in sweep-*.parquet", field=entry.path
        )
    return counted


def _saliencies(entry: Entry, full: bool) -> int:
    from wsss_platform.scores.counts import read_saliencies

    return sum(len(part.ids) for part in read_saliencies(entry.path))


def _json(path: Path) -> object:
    return json.loads(path.read_text(encoding="utf-8"))


def _read(path: Path, reader: Callable[[Path], object]) -> None:
    """InputError naming the file when a reader that does not name it fails."""
    try:
        reader(path)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not readable ({type(error).__name__}: {error})", field=path) from None


def spread(files: list[Path], count: int) -> list[Path]:
    """At most `count` of the files, evenly spread."""
    return files if len(files) <= count else [files[place * len(files) // count] for place in range(count)]
