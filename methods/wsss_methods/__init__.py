"""The catalogue: `names()` and `get(name) -> Method`. Imports neither torch nor any method until asked."""

from __future__ import annotations

import importlib
import re

from wsss_platform.errors import InputError, unknown
from wsss_platform.method import Method

_OUTSIDE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def names() -> tuple[str, ...]:
    """Methods of this package."""
    return ("cam", "drs", "fbr", "fbr_cam", "fbr_s", "rcm_mam", "rtc")


def get(name: str) -> Method:
    """A method by name, or one outside this package by dotted path such as `my_package.mine:METHOD`.

    Raises:
        InputError: an unknown name (with the nearest right one), a module that cannot be imported, or an
            attribute that is missing or no Method.
    """
    match name:
        case "cam":
            from wsss_methods.cam import METHOD as cam

            return cam
        case "drs":
            from wsss_methods.drs import METHOD as drs

            return drs
        case "fbr":
            from wsss_methods.fbr import METHOD as fbr

            return fbr
        case "fbr_cam":
            from wsss_methods.fbr.on_cam import METHOD as fbr_cam

            return fbr_cam
        case "fbr_s":
            from wsss_methods.fbr.on_eps import METHOD as fbr_s

            return fbr_s
        case "rcm_mam":
            from wsss_methods.rcm_mam import METHOD as rcm_mam

            return rcm_mam
        case "rtc":
            from wsss_methods.rtc import METHOD as rtc

            return rtc
        case _ if ":" in name:
            return _outside(name)
        case _:
            raise unknown("method", name, names())


def _outside(path: str) -> Method:
    if not _OUTSIDE.fullmatch(path):
        raise InputError(f"method {path!r}: expected module:ATTRIBUTE, for instance my_package.mine:METHOD")
    module_name, attribute = path.split(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(f"method {path!r}: cannot import {module_name!r}: {error}") from error
    if not hasattr(module, attribute):
        raise unknown(f"attribute of {module_name}", attribute, [n for n in vars(module) if not n.startswith("_")])
    method = getattr(module, attribute)
    if not isinstance(method, Method):
        raise InputError(f"method {path!r}: expected a wsss_platform.method.Method, got a {type(method).__name__}")
    return method
