"""The two errors a user sees, and the nearest right name for a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """The user's input is wrong: a field, a name, a file, a picture. The command exits with 2.

    The message names what was wrong, where, and what was expected.
    """


class RunError(RuntimeError):
    """The run failed although the input was legal (a NaN loss, a lost worker). The command exits with 1."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """An error for a name that does not exist, with the nearest right one.

    Args:
        kind: what the name stands for, such as "method" or "config field".
        name: what was given.
        known: every legal name.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        hint = f"did you mean {near[0]!r}?"
    elif len(names) <= 12:
        hint = "known: " + (", ".join(names) or "none")
    else:
        hint = f"{len(names)} are known, for instance " + ", ".join(names[:5])
    return InputError(f"unknown {kind} {name!r}; {hint}")
