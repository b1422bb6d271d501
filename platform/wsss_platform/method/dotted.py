"""Things by dotted name, `package.module:Attribute`, which are imported when they are needed."""

from __future__ import annotations

import importlib
import re
from typing import Any

from wsss_platform.errors import InputError, unknown

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def check_dotted(what: str, name: str, example: str) -> None:
    """An InputError unless `name` looks like `package.module:Attribute`; nothing is imported.

    Args:
        what: begins the message, such as "method".
        name: as given.
        example: of a right one.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"{what} {name!r}: expected module:ATTRIBUTE, for instance {example}")


def find_dotted(what: str, name: str, example: str) -> Any:
    """What a dotted name stands for.

    Args:
        what: see `check_dotted`.
        name: see `check_dotted`.
        example: see `check_dotted`.

    Raises:
        InputError: a malformed name, a module that cannot be imported, or an attribute that it does not have (with
            the nearest right one).
    """
    check_dotted(what, name, example)
    module_name, attribute = name.split(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(f"{what} {name!r}: cannot import {module_name!r}: {error}") from error
    if not hasattr(module, attribute):
        known = [each for each in vars(module) if not each.startswith("_")]
        raise InputError(f"{what} {name!r}: {unknown(f'attribute of {module_name}', attribute, known)}")
    return getattr(module, attribute)
