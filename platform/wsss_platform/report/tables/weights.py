"""Released weights under our names."""

from __future__ import annotations

from wsss_platform.nets.documents import ImportedWeights
from wsss_platform.report.table import Shown


def weights_lines(document: ImportedWeights) -> list[Shown]:
    """Counts, then every name of what is wrong, one a line."""
    lines: list[Shown] = [
        f"{document.found} tensors found",
        f"{len(document.left_out)} left out on purpose",
        f"{len(document.initial)} that the release does not store keep their initial values",
    ]
    for what, names in document.problems.items():
        lines.append(f"{len(names)} {what}:")
        lines += [f"  {name}" for name in names]
    return lines
