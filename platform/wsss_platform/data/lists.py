"""ImageSets/Segmentation/*.txt: which images a split names, in the three line formats of the field.

2007_000032                                                      plain (VOC, IRN)
/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png  PSA, SEAM
2007_000032 0 14                                                 DRS: with class indices, from 0
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from wsss_platform.data.reading import Problem
from wsss_platform.data.split import check_id
from wsss_platform.errors import InputError

_IMAGE = re.compile(r"/?JPEGImages/([^/]+)\.jpg")
_MASK = re.compile(r"/?SegmentationClass(?:Aug)?/([^/]+)\.png")


@dataclass(frozen=True)
class Entry:
    """One line of a split."""

    id: str
    line: int
    """From 1."""
    indices: tuple[int, ...] = ()
    """Class indices from 0, of the DRS format."""


def read_list(path: Path, classes: int) -> tuple[list[Entry], list[Problem]]:
    """The good lines of a split in order, and what is wrong with the others (each with file and line).

    Args:
        path: of the split.
        classes: number of foreground classes; indices must be below it.

    Raises:
        InputError: the file is missing or not text.
    """
    entries: list[Entry] = []
    problems: list[Problem] = []
    first: dict[str, int] = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = _parse(line.split(), number, f"{path}:{number}", classes)
            if entry.id in first:
                raise InputError(f"{path}:{number}: image {entry.id} is already in line {first[entry.id]}", field=path)
        except InputError as error:
            problems.append(Problem(f"{path}:{number}", str(error).removeprefix(f"{path}:{number}: ")))
            continue
        first[entry.id] = number
        entries.append(entry)
    if not first and not problems:
        problems.append(Problem(str(path), "the split is empty"))
    return entries, problems


def count_lines(path: Path) -> int:
    """Images in a split, without checking them."""
    return sum(1 for line in _text(path).splitlines() if line.strip())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", field=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a list of image ids: {error}", field=path) from None


def _parse(words: list[str], number: int, where: str, classes: int) -> Entry:
    image = _IMAGE.fullmatch(words[0])
    if image:
        id = check_id(image[1], where)
        mask = _MASK.fullmatch(words[1]) if len(words) == 2 else None
        if len(words) > 1 and (mask is None or mask[1] != id):
            raise InputError(
                f"{where}: expected '{words[0]} /SegmentationClassAug/{id}.png', got {' '.join(words)!r:.120}",
                field=where,
            )
        return Entry(id, number)
    id = check_id(words[0], where)
    indices = []
    for word in words[1:]:
        if not re.fullmatch(r"-?\d{1,9}", word):
            raise InputError(f"{where}: expected class indices after {id}, got {word!r:.80}", field=where)
        if not 0 <= int(word) < classes:
            raise InputError(f"{where}: class index {word} of {id} is out of range 0..{classes - 1}", field=where)
        indices.append(int(word))
    return Entry(id, number, tuple(indices))
