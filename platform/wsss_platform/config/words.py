"""Words for a person, which need nothing else."""

from __future__ import annotations


def counted(count: int, one: str, several: str = "") -> str:
    """A number with its noun: "1 image", "2 images"; `several` where that is not the noun with an s."""
    return f"{count} {one if count == 1 else several or one + 's'}"
