"""The catalogue: light, and clear about names that are not in it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import wsss_methods
from wsss_platform.errors import InputError


def test_the_catalogue_imports_no_torch() -> None:
    code = (
        "import sys, wsss_methods\n"
        "for name in wsss_methods.names():\n"
        "    method = wsss_methods.get(name); method.phases(method.config()); method.presets()\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_names_are_those_of_the_methods() -> None:
    assert [wsss_methods.get(name).name for name in wsss_methods.names()] == list(wsss_methods.names())


def test_unknown_and_outside_methods_are_explained() -> None:
    with pytest.raises(InputError, match="did you mean 'fbr'"):
        wsss_methods.get("fbrr")
    with pytest.raises(InputError, match="cannot import"):
        wsss_methods.get("no_such_package:METHOD")
    with pytest.raises(InputError, match="did you mean 'METHOD'"):
        wsss_methods.get("wsss_methods.cam:METHODS")
    with pytest.raises(InputError, match="expected a wsss_platform.method.Method, got a str"):
        wsss_methods.get("wsss_methods.cam:__doc__")
    with pytest.raises(InputError, match="module:ATTRIBUTE"):
        wsss_methods.get("../cam:METHOD")
    assert wsss_methods.get("wsss_methods.cam:METHOD") is wsss_methods.get("cam")
