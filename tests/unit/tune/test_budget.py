"""What a study may use up, from the command line's text to a limit."""

from __future__ import annotations

import pytest

from wsss_platform.errors import InputError
from wsss_platform.tune.budget import Budget, read_budget, with_old_options


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("45m", Budget(hours=0.75)),
        ("6h", Budget(hours=6.0)),
        (" 1.5 h ", Budget(hours=1.5)),
        ("20gpu-h", Budget(gpu_hours=20.0)),
        ("0.5gpu-h", Budget(gpu_hours=0.5)),
        ("6h,20gpu-h", Budget(hours=6.0, gpu_hours=20.0)),
        ("20gpu-h, 90m", Budget(hours=1.5, gpu_hours=20.0)),
    ],
)
def test_a_budget_is_read(text: str, budget: Budget) -> None:
    assert read_budget(text) == budget


@pytest.mark.parametrize(
    "text", ["", "6", "h", "6 hours", "6H", "30s", "-1h", "1e3h", ".5h", "nanh", "6h;20gpu-h", "6h,"]
)
def test_another_text_says_what_was_expected(text: str) -> None:
    with pytest.raises(InputError, match="expected minutes, hours or GPU-hours such as 45m, 6h or 20gpu-h"):
        read_budget(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1h,30m", "sets hours twice"),
        ("1gpu-h,2gpu-h", "sets gpu-hours twice"),
        ("0m", "expected more than 0 hours, got 0"),
        ("0gpu-h", "expected more than 0 GPU-hours, got 0"),
    ],
)
def test_limits_that_make_no_sense_are_told(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_budget(text)


def test_the_old_options_still_work_but_not_beside_the_same_limit() -> None:
    assert with_old_options(Budget(), None, None) == Budget()
    assert with_old_options(Budget(), 6.0, 20.0) == Budget(hours=6.0, gpu_hours=20.0)
    assert with_old_options(Budget(hours=1.0), None, 20.0) == Budget(hours=1.0, gpu_hours=20.0)
    with pytest.raises(InputError, match="--hours: --budget sets this limit too"):
        with_old_options(Budget(hours=1.0), 2.0, None)
    with pytest.raises(InputError, match="--gpu-hours: --budget sets this limit too"):
        with_old_options(Budget(gpu_hours=1.0), None, 2.0)
    for hours in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="expected more than 0 hours"):
            with_old_options(Budget(), hours, None)
