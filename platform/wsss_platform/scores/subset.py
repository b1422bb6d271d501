"""Subsets of the scored images, computed from the stored counts: no image is read again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from wsss_platform.errors import InputError, unknown

SIZES = {"small": (0.0, 0.05), "medium": (0.05, 0.25), "large": (0.25, 1.0)}
"""Share of an image's scored pixels that belongs to objects, above the first and up to the second [ours]."""
_FORM = "all, class=NAME, object=small|medium|large, object=LOW..HIGH (share) or image=LOW..HIGH (pixels)"


def subset(text: str, parts: NDArray[np.int64], classes: Sequence[str]) -> NDArray[np.bool_]:
    """Which images are meant: bool [N].

    Args:
        text: "all"; "class=cat", images whose ground truth has the class; "object=small" or "object=0.05..0.25", by the
            share of the scored pixels that belongs to any object; "image=100000..200000", by the number of scored
            pixels. Ranges exclude their lower and include their upper end.
        parts: int64 [N, 3, C + 1], see `confusion.parts`.
        classes: names of the C foreground classes.

    Raises:
        InputError: another form, an unknown class or size, or no such image.
    """
    kind, _, value = text.partition("=")
    truth = parts[:, 1]
    if text == "all":
        found = np.ones(len(parts), np.bool_)
    elif kind == "class":
        if value not in classes:
            raise unknown("class (--subset)", value, classes, "--subset")
        found = truth[:, 1 + list(classes).index(value)] > 0
    elif kind == "object":
        low, high = SIZES[value] if value in SIZES else _range(text, value, SIZES)
        share = truth[:, 1:].sum(1) / np.maximum(truth.sum(1), 1)
        found = (share > low) & (share <= high)
    elif kind == "image":
        low, high = _range(text, value, ())
        found = (truth.sum(1) > low) & (truth.sum(1) <= high)
    else:
        raise InputError(f"--subset {text!r}: expected {_FORM}", field="--subset")
    if not found.any():
        raise InputError(f"--subset {text!r}: none of the {len(parts)} images", field="--subset")
    return np.asarray(found)


def _range(text: str, value: str, words: Iterable[str]) -> tuple[float, float]:
    if words and value[:1].isalpha():
        raise unknown("size (--subset object=)", value, words, "--subset")
    low, _, high = value.partition("..")
    try:
        if float(low) < float(high):
            return float(low), float(high)
    except ValueError:
        pass  # reported below, like a range that is empty
    raise InputError(f"--subset {text!r}: expected {_FORM}", field="--subset")
