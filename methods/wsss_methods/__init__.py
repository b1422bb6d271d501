"""The catalogue: `names()` and `get(name) -> Method`. Imports neither torch nor any method until asked."""

from __future__ import annotations

from collections.abc import Mapping

from wsss_platform.errors import InputError, unknown
from wsss_platform.method import Method
from wsss_platform.method.dotted import find_dotted

CATALOGUE: Mapping[str, str] = {
    "cam": "wsss_methods.cam:METHOD",
    "drs": "wsss_methods.drs:METHOD",
    "fbr": "wsss_methods.fbr:METHOD",
    "fbr_cam": "wsss_methods.fbr.on_cam:METHOD",
    "fbr_s": "wsss_methods.fbr.on_eps:METHOD",
    "rcm_mam": "wsss_methods.rcm_mam:METHOD",
    "rtc": "wsss_methods.rtc:METHOD",
}
"""The methods of this package, one line each."""


def names() -> tuple[str, ...]:
    """Methods of this package."""
    return tuple(CATALOGUE)


def get(name: str) -> Method:
    """A method by name, or one outside this package by dotted name such as `my_package.mine:METHOD`.

    Raises:
        InputError: an unknown name (with the nearest right one), a module that cannot be imported, or an
            attribute that is missing or no Method.
    """
    dotted = CATALOGUE.get(name, name)
    if ":" not in dotted:
        raise unknown("method", name, CATALOGUE, "METHOD")
    method = find_dotted("method", dotted, "my_package.mine:METHOD")
    if not isinstance(method, Method):
        raise InputError(f"method {name!r}: expected a wsss_platform.method.Method, got a {type(method).__name__}")
    return method
