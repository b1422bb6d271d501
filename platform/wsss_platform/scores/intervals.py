"""What a bootstrap gives: values with their intervals. Loads nothing, as documents are made of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % percentile interval; mean IoU or a difference of two, as fractions."""

    value: float
    """Over all images."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same images."""

    a: Interval
    """Mean IoU of the first."""
    b: Interval
    """Mean IoU of the second."""
    difference: Interval
    """a - b, paired: both on the same resampled images."""
    a_wins: float
    """Share of resamples in which a is better; equal counts half."""
    images: int
    """That both runs have."""
    resamples: int
    """How many."""
    seed: int
    """Of the resampling."""
