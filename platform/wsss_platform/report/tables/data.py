"""Data sets: their splits, and what is wrong with files."""

from __future__ import annotations

from wsss_platform.data.documents import DataCheck, DataLists
from wsss_platform.report.table import Shown, Table, columns


def lists_table(data: str, document: DataLists) -> Table:
    """A line for each split; `data` is what the set is called."""
    rows = tuple((name, str(length)) for name, length in document.lists.items())
    return Table(f"{data}: {len(document.classes)} classes", columns("split", "images"), rows)


def check_result(document: DataCheck) -> list[Shown]:
    """A line for each split, then each problem with the splits that have it, then the verdict."""
    names = ("split", "images", "masks", "problems", "classes per image", "labels and mask differ", "labels")
    rows = []
    for one in document.lists:
        problems = sum(problem.list == one.list_name for problem in document.problems)
        mean = sum(one.per_class) / max(one.images, 1)
        numbers = (one.images, one.masks, problems, f"{mean:.2f}", one.disagree)
        rows.append((one.list_name, *map(str, numbers), f"from {one.labels_from}"))
    found: dict[tuple[str, str], list[str]] = {}
    for problem in document.problems:
        found.setdefault((problem.file, problem.message), []).append(problem.list)
    lines = (f"{', '.join(splits)}: {file}: {message}" for (file, message), splits in found.items())
    return [Table("", columns(*names), tuple(rows)), *lines, document.verdict]
