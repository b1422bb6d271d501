"""Shipped files: found in the checkout and, when there is one, in the package; the nearest name for a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsss_platform.config import shipped as module
from wsss_platform.config.shipped import shipped, shipped_file, shipped_names
from wsss_platform.errors import InputError, RunError

ROOT = Path(__file__).parents[3]


def test_a_checkout_has_them_at_its_top() -> None:
    assert shipped("search_spaces") == ROOT / "search_spaces"
    assert shipped_file("recipes", "sample/cam", ".toml") == ROOT / "recipes" / "sample" / "cam.toml"
    assert "fbr" in shipped_names("search_spaces", ".toml")


def test_a_wheel_has_them_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes" / "sample").mkdir(parents=True)
    (tmp_path / "recipes" / "sample" / "mine.toml").touch()
    monkeypatch.setattr(module, "_PACKAGE", tmp_path)
    assert shipped_names("recipes", ".toml") == ["sample/mine"]


def test_a_wrong_name_gets_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown search space 'fbrr'; did you mean 'fbr'") as caught:
        shipped_file("search_spaces", "fbrr", ".toml")
    assert caught.value.nearest == "fbr"


@pytest.mark.parametrize("name", ["../pyproject", "/etc/passwd", ""])
def test_only_shipped_files(name: str) -> None:
    with pytest.raises(InputError):
        shipped_file("search_spaces", name, ".toml")


def test_a_lost_folder_is_the_installations_fault() -> None:
    with pytest.raises(RunError, match="lacks its folder 'spaces'"):
        shipped("spaces")
