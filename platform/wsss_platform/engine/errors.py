"""One line out of Ray's errors."""

from __future__ import annotations

import textwrap


def last_line(error: BaseException) -> str:
    """What an error says last, where Ray puts the cause; at most 200 characters."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    said = lines[-1] if lines else type(error).__name__
    return textwrap.shorten(
        said.replace("Worker exit type: SYSTEM_ERROR Worker exit detail: ", ""), 200, placeholder=" ..."
    )
