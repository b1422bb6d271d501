"""Settings that change in the middle of a training, as a part of the config."""

from __future__ import annotations

from pydantic import Field

from wsss_platform.config.section import Section

Scalar = bool | int | float | str
Value = Scalar | tuple[Scalar, ...]


class SegmentConfig(Section):
    """Some epochs of the last phase's training, with the values that are in force in them."""

    until: int = Field(ge=1)
    """Finished epochs of the phase at which it ends; it begins where the segment before it ended."""
    values: dict[str, Value] = Field(default_factory=dict)
    """Dotted path of a field -> its value in these epochs; every other field is as the config has it."""
