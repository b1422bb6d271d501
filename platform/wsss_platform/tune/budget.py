"""What a study may use up before no trial starts any more: `--budget 45m`, `6h`, `20gpu-h`, or `6h,20gpu-h`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wsss_platform.errors import InputError

PART = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>gpu-h|h|m)")


@dataclass(frozen=True)
class Budget:
    """Limits of a study besides its number of trials.

    Raises:
        InputError: a limit that is not above 0.
    """

    hours: float | None = None
    """From the call on; trials that run then are finished. None: no such limit."""
    gpu_hours: float | None = None
    """Of all trials together, over all calls. None: no such limit."""

    def __post_init__(self) -> None:
        for name, value in (("hours", self.hours), ("GPU-hours", self.gpu_hours)):
            if value is not None and not value > 0:
                raise InputError(f"budget (--budget): expected more than 0 {name}, got {value:g}")


def read_budget(text: str) -> Budget:
    """A budget from the command line.

    Args:
        text: a number with a unit, m (minutes), h (hours) or gpu-h (GPU-hours); a time and GPU-hours with a comma
            between them.

    Raises:
        InputError: another text, two limits of one kind, or one that is not above 0.
    """
    limits: dict[str, float] = {}
    for part in text.split(","):
        found = PART.fullmatch(part.strip())
        if found is None:
            raise InputError(
                f"budget (--budget): {text!r} is not one; expected minutes, hours or GPU-hours such as 45m, 6h or "
                "20gpu-h, or a time and GPU-hours: 6h,20gpu-h"
            )
        kind = "gpu_hours" if found["unit"] == "gpu-h" else "hours"
        if kind in limits:
            raise InputError(f"budget (--budget): {text!r} sets {kind.replace('_', '-')} twice; expected one of a kind")
        limits[kind] = float(found["number"]) / (60 if found["unit"] == "m" else 1)
    return Budget(**limits)


def with_old_options(budget: Budget, hours: float | None, gpu_hours: float | None) -> Budget:
    """A budget joined with what the options `--hours` and `--gpu-hours` say, which `--budget` replaces.

    Raises:
        InputError: both say the same limit, or one is not above 0.
    """
    for option, old, new in (("--hours", hours, budget.hours), ("--gpu-hours", gpu_hours, budget.gpu_hours)):
        if old is not None and new is not None:
            raise InputError(f"{option}: --budget sets this limit too; expected one of the two options")
    return Budget(
        hours=hours if budget.hours is None else budget.hours,
        gpu_hours=gpu_hours if budget.gpu_hours is None else budget.gpu_hours,
    )
