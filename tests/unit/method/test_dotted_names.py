"""A phase's training module by dotted name: imported when it is built, and every mistake is one clear error."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from tiny_method import TinyConfig, TinyModule, build
from wsss_platform.errors import InputError
from wsss_platform.method import Phase
from wsss_platform.method.dotted import find_dotted

SECTIONS = ("train", "loss")


def test_a_name_and_a_callable_build_the_same() -> None:
    for module in ("tiny_method:build", build):
        built = Phase("one", module, SECTIONS).build(TinyConfig(), 3)
        assert isinstance(built, TinyModule)
        assert built.head.out_channels == 3


def test_nothing_is_imported_before_it_is_built() -> None:
    phase = Phase("one", "no_such_package.module:Mine", SECTIONS)
    with pytest.raises(InputError, match=r"training module of phase 'one': .*cannot import 'no_such_package.module'"):
        phase.build(TinyConfig(), 3)


def test_it_travels_and_can_be_compared() -> None:
    phase = Phase("one", "tiny_method:build", SECTIONS)
    assert pickle.loads(pickle.dumps(phase)) == phase
    assert phase == Phase("one", "tiny_method:build", SECTIONS)
    assert phase != Phase("one", "tiny_method:TinyModule", SECTIONS)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tiny_method:bild", "did you mean 'build'"),
        ("tiny_method:METHOD", "expected a class or a function"),
        ("json.nothing:f", "cannot import 'json.nothing'"),
    ],
)
def test_a_wrong_name_is_explained(name: str, said: str) -> None:
    with pytest.raises(InputError, match=f"training module of phase 'one': '{name}': .*{said}"):
        Phase("one", name, SECTIONS).build(TinyConfig(), 3)


@pytest.mark.parametrize("name", ["tiny_method", "tiny_method.build", ":build", "tiny method:build", "../m:build", ""])
def test_what_is_no_dotted_name_is_refused_with_the_phase(name: str) -> None:
    with pytest.raises(InputError, match=r"training module of phase 'one': .*expected module:ATTRIBUTE"):
        Phase("one", name, SECTIONS)


def test_the_error_of_a_module_that_breaks_is_its_own(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_on_import.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError):
        find_dotted("method", "broken_on_import:METHOD", "my_package:METHOD")
