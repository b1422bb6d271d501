"""The two errors a user sees, and the nearest right name for a wrong one.

Both have a `code` that stays the same from release to release, for programs that read them:

    input           the input is wrong (InputError)
    unknown-name    the same, where it is a name that does not exist (UnknownNameError)
    run             the run failed although the input was legal (RunError)
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from typing import ClassVar, Self


class InputError(ValueError):
    """The user's input is wrong: a setting, a name, a file, an image. The command exits with 2.

    The message names what was wrong, where, and what was expected.

    Attributes:
        field: what is wrong, alone: a setting ("loss.contrast"), an option ("--budget"), a file or an image's id; None
            where that is not one thing.
        nearest: the nearest right name for a wrong one, or None.
    """

    code: ClassVar[str] = "input"

    def __init__(
        self, message: str, *, field: str | os.PathLike[str] | None = None, nearest: str | None = None
    ) -> None:
        super().__init__(message)
        self.field = None if field is None else str(field)
        self.nearest = nearest

    def in_context(self, message: str, *, field: str | os.PathLike[str] | None = None) -> Self:
        """The same fault with another message, usually a longer one, and another field, if one is given."""
        return type(self)(message, field=self.field if field is None else field, nearest=self.nearest)


class UnknownNameError(InputError):
    """A name that does not exist; `unknown` makes it."""

    code: ClassVar[str] = "unknown-name"


class RunError(RuntimeError):
    """The run failed although the input was legal (a NaN loss, a lost worker). The command exits with 1."""

    code: ClassVar[str] = "run"


def unknown(
    kind: str, name: str, known: Iterable[str], field: str | os.PathLike[str] | None = None
) -> UnknownNameError:
    """An error for a name that does not exist, with the nearest right one.

    Args:
        kind: what the name stands for, such as "method" or "setting".
        name: what was given.
        known: every legal name.
        field: where it was given, such as "masks.crf" or "--as"; for a setting the path itself.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        hint = f"did you mean {near[0]!r}?"
    elif len(names) <= 12:
        hint = "known: " + (", ".join(names) or "none")
    else:
        hint = f"{len(names)} are known, for instance " + ", ".join(names[:5])
    nearest = near[0] if near else None
    return UnknownNameError(f"unknown {kind} {name!r}; {hint}", field=field, nearest=nearest)
