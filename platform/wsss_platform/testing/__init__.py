"""Checks that every method must pass, for methods of any package, as `optuna.testing` has them for samplers.

A test file of three lines runs all of them with pytest:

    from my_package import METHOD
    from wsss_platform.testing import method_tests

    TestMine = method_tests(METHOD, small={"heads.width": 8})

A failure names the method, the phase, the settings that differ, and what was expected. Where the project that tests has
a pytest marker `slow`, the two checks that take longest have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_platform.errors import InputError

if TYPE_CHECKING:
    from wsss_platform.method import Method
    from wsss_platform.testing.method_checks import MethodTests

HAS_PYTEST = find_spec("pytest") is not None
"""It is no dependency of the platform."""
if HAS_PYTEST:
    import pytest

    # pytest explains a failed assert of test files and of the modules that are registered before they are imported
    pytest.register_assert_rewrite(f"{__name__}.method_checks", f"{__name__}.phase_checks")


def method_tests(
    method: Method,
    *,
    small: Mapping[str, Any] | None = None,
    variants: Sequence[Mapping[str, Any]] = ({},),
    space: str | Path = "space.toml",
    without_gradient: tuple[str, ...] = (),
) -> type[MethodTests]:
    """A class of tests, to be bound to a name that pytest collects, such as `TestMine`.

    Args:
        method: what is tested.
        small: dotted path -> value, by which its parts become small enough for tests, and every term of its losses has
            something to do from the first step on. The backbone always begins with random weights.
        variants: further changes under which each phase that they change is tested again; the first one is the plain
            method.
        space: its search space, a path that is relative to the method's folder.
        without_gradient: beginnings of the names of trainable parameters that get no gradient on purpose.

    Raises:
        InputError: a path that the config does not have, an illegal value, or no pytest.
    """
    if not HAS_PYTEST:
        raise InputError("wsss_platform.testing needs pytest, which is not installed: pip install pytest")
    from wsss_platform.testing.cases import Tested
    from wsss_platform.testing.method_checks import MethodTests

    tested = Tested(method, dict(small or {}), tuple(variants), method.folder / space, without_gradient)
    return type(f"Test_{method.name}", (MethodTests,), {"tested": tested, "__doc__": method.title})
