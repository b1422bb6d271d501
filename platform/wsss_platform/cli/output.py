"""What reaches the terminal: results on standard output, everything else on standard error.

With `--json` standard output carries one JSON object and nothing else, whatever libraries print: the verb's document,
or an error (`error_document`).
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.text import Text

from wsss_platform.config.document import Document
from wsss_platform.errors import InputError, RunError
from wsss_platform.report.progress import console, console_on, note
from wsss_platform.report.table import Shown, Table
from wsss_platform.report.terminal import rendered

__all__ = [
    "Output",
    "error_document",
    "note",
    "output",
    "print_advice",
    "print_error",
    "print_shown",
    "usage_document",
    "was_printed",
]

_OPTION = re.compile(r"^(--[a-z][a-z-]*)|\((--[a-z][a-z-]*)\)")


def print_error(message: str) -> None:
    """One red word and the message, on standard error."""
    console.print(Text("error:", "bold red"), end=" ")
    console.print(message, soft_wrap=True)


def print_advice(line: str) -> None:
    """The last line of a failure, on standard error."""
    console.print(line, soft_wrap=True)


def print_shown(*shown: Shown) -> None:
    """Tables and lines, on standard error; a line is not broken."""
    _print(console, *shown)


def _print(to: Any, *shown: Shown) -> None:
    for item in shown:
        to.print(rendered(item), soft_wrap=not isinstance(item, Table))


class Output:
    """Where a verb puts its result."""

    def __init__(self, as_json: bool, stream: Any) -> None:
        self.as_json = as_json
        self.printed = False
        """Whether there was a result."""
        self._stream = stream

    def result(self, document: Document, *shown: Shown) -> None:
        """The verb's result: the document as JSON, or tables and lines for a person."""
        self.printed = True
        if self.as_json:
            json.dump(document.to_json(), self._stream, indent=1, allow_nan=False)
            self._stream.write("\n")
            self._stream.flush()
        else:
            self.show(*shown)

    def show(self, *shown: Shown) -> None:
        """Tables and lines for a person; a line is not broken."""
        _print(console_on(self._stream), *shown)
        self._stream.flush()


def error_document(error: BaseException, code: str | None = None) -> dict[str, Any]:
    """What `--json` prints of an error: its code, message, the field that is wrong and the nearest right name.

    Codes: "input", "unknown-name", "usage" (exit code 2), "run", "internal" (1), "interrupted" (130).
    """
    known = isinstance(error, InputError | RunError)
    field, nearest = getattr(error, "field", None), getattr(error, "nearest", None)
    if field is None and known and (found := _OPTION.search(str(error))):
        field = found[1] or found[2]
    said = code or getattr(error, "code", None)
    message = str(error) if known or code else f"{type(error).__name__}: {error}"
    told = {"code": said if isinstance(said, str) else "internal", "message": message}
    return {"error": {**told, "field": field, "nearest": nearest}}


def usage_document(error: BaseException | None) -> dict[str, Any]:
    """What `--json` prints of wrong usage, which typer has found and shown."""
    options = getattr(getattr(error, "param", None), "opts", None) or [getattr(error, "option_name", None)]
    told: Any = getattr(error, "format_message", None)
    message = told() if told else "wrong usage; see standard error"
    possible = getattr(error, "possibilities", None) or ()
    nearest = next(iter(possible), None)
    return {"error": {"code": "usage", "message": message, "field": options[0], "nearest": nearest}}


def was_printed(error: BaseException | None) -> bool:
    """Whether a result was printed before this error, or before what caused it."""
    while error is not None:
        if vars(error).get("printed"):
            return True
        error = error.__context__
    return False


@contextmanager
def output(as_json: bool) -> Iterator[Output]:
    """Standard output for the result; while open, anything else written to it goes to standard error.

    The file descriptor itself is moved, so that subprocesses and C libraries are caught too.
    """
    sys.stdout.flush()
    if not _is_real(sys.stdout):
        yield from _noted(Output(as_json, sys.stdout))
        return
    saved = os.dup(1)
    os.dup2(2, 1)
    stream = os.fdopen(saved, "w", encoding="utf-8")
    try:
        yield from _noted(Output(as_json, stream))
    finally:
        sys.stdout.flush()
        stream.flush()
        os.dup2(stream.fileno(), 1)
        stream.close()


def _noted(out: Output) -> Iterator[Output]:
    """The output; an error after its result is marked, as there is one object on standard output."""
    try:
        yield out
    except BaseException as error:
        vars(error)["printed"] = out.printed
        raise


def _is_real(stream: Any) -> bool:
    """False under a test runner that replaced standard output by a buffer."""
    try:
        return bool(stream.fileno() == 1)
    except (OSError, ValueError, AttributeError):
        return False
