"""`python -m benchmarks [PART] [--json]`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
from rich.console import Console
from rich.table import Table

from benchmarks import confusions, crfs, inference, inner, producers, raylets, steps, stores, sweeps, trials, walks
from benchmarks.images import PreparedImage, load
from benchmarks.measure import Row

PARTS: dict[str, Callable[[list[PreparedImage], int, Path], Iterator[Row]]] = {
    "sweep": sweeps.rows,
    "confusion": confusions.rows,
    "store": stores.rows,
    "crf": crfs.rows,
    "inference": inference.rows,
    "producer": producers.rows,
    "raylets": raylets.rows,
    "step": steps.rows,
    "tuner": trials.rows,
    "walk": walks.rows,
    "inner": inner.rows,  # last: its trainings change how this process treats freed memory
}


def main() -> None:
    """Run what was asked for and print one table, or one JSON list."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    wanted = os.environ.get("JSON") == "1"  # make bench JSON=1
    parser.add_argument("--json", action="store_true", default=wanted, help="one JSON list on standard output")
    parser.add_argument("part", nargs="?", choices=sorted(PARTS), help="one part; default all")
    parser.add_argument("--only", choices=sorted(PARTS), dest="part", help="the same", default=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    log = Console(stderr=True)
    images, classes, origin = load(24)
    log.print(f"{len(images)} images ({origin}); CPU time per image, one thread, medians of alternating rounds")
    found: list[Row] = []
    for name, part in PARTS.items():
        if arguments.part in (None, name):
            with tempfile.TemporaryDirectory(prefix="wsss-benchmark-") as folder:
                for row in part(images, len(classes), Path(folder)):
                    log.print(f"{row.name}: {_times(row.ratio)}, {' against '.join(_values(row))}", soft_wrap=True)
                    found.append(row)
    if arguments.json:
        json.dump([as_json(row) for row in found], sys.stdout, indent=1)
        print()
    else:
        Console().print(table(found))
        for row in found:
            Console().print(f"- {row.name}: " + "; ".join(text for text in (row.note, _limit(row)) if text))


def as_json(row: Row) -> dict[str, object]:
    """A row as plain values."""
    share = None if row.limit_share is None else round(row.limit_share, 3)
    return {
        "name": row.name,
        "ours": round(row.ours, 4),
        "theirs": round(row.theirs, 4),
        "unit": row.unit,
        "ratio": round(row.ratio, 3),
        "asked": row.asked,
        "limit_share": share,
        "limit": row.limit,
        "ours_peak_mb": row.ours_peak,
        "theirs_peak_mb": row.theirs_peak,
        "note": row.note,
    }


def table(found: list[Row]) -> Table:
    """Rows for the terminal."""
    result = Table("work", "ours", "theirs", "ratio", "asked", "share of limit", "peak MB")
    for row in found:
        peaks = "" if row.ours_peak is None else f"{row.ours_peak:.1f} / {row.theirs_peak or 0:.1f}"
        result.add_row(
            row.name,
            *_values(row),
            _times(row.ratio),
            "" if row.asked is None else f"{row.asked:g}x",
            "" if row.limit_share is None else f"{row.limit_share:.0%}",
            peaks,
        )
    return result


def _values(row: Row) -> tuple[str, str]:
    """Ours and theirs."""
    return f"{row.ours:.3g} {row.unit}", f"{row.theirs:.4g} {row.unit}"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}x" if ratio >= 100 else f"{ratio:.3g}x"


def _limit(row: Row) -> str:
    return f"limit: {row.limit}" if row.limit else ""


if __name__ == "__main__":
    main()
