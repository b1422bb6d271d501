"""COCO's own numbers of its classes."""

from __future__ import annotations

from collections.abc import Sequence

_LEFT_OUT = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)  # of COCO's 1..90
_COCO_ENDS = ("person", "toothbrush")


def category_ids(classes: Sequence[str]) -> tuple[int, ...]:
    """COCO's own ids 1..90 where the classes are its 80, else 1..C (the values of the masks)."""
    if len(classes) == 80 and (classes[0], classes[-1]) == _COCO_ENDS:
        return tuple(number for number in range(1, 91) if number not in _LEFT_OUT)
    return tuple(range(1, len(classes) + 1))
