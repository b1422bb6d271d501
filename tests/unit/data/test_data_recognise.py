"""What a folder is taken for, what forces a kind, and what is said of a folder that is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import wsss_platform.api as wsss
from data_folders import write_coco, write_images
from wsss_platform.api._data import data_named, data_of
from wsss_platform.data.recognise import NEEDS, as_said, named, recognise
from wsss_platform.errors import InputError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_each_kind(tmp_path: Path, written: Path) -> None:
    assert recognise(written) == "voc12"
    assert recognise(write_coco(tmp_path / "coco")) == "coco"
    assert recognise(write_images(tmp_path / "set")) == "images"
    for folder, kind in ((written, "voc12"), (tmp_path / "coco", "coco"), (tmp_path / "set", "images")):
        data = wsss.open_data(folder)
        assert (data.config.kind, data.config.root) == (kind, str(folder.resolve()))
        assert data.splits["train"] in (6, 7)
        assert data_of(str(folder)) == data_of(as_said(kind, str(folder))) == data.config
        assert data_named(kind, str(folder)).config == data.config, "as a recipe and --root say it"
        assert data_named("sample", str(folder)).config == data.config, "a folder alone, in a recipe"
        assert data_named(str(folder)).config == data.config
    assert data_of("sample").kind == data_of(None).kind == "sample"


def test_two_kinds_at_once_have_to_be_told_apart(tmp_path: Path) -> None:
    folder = write_images(write_coco(tmp_path / "both"))
    with pytest.raises(InputError) as raised:
        recognise(folder)
    assert str(raised.value) == (
        f"{folder}: it is a COCO folder and a folder of images at once; say which: coco:{folder} or images:{folder}"
    )
    assert data_named(f"images:{folder}").config.kind == "images"
    assert wsss.open_data(f"coco:{folder}").config.kind == "coco"


def test_a_folder_that_is_none_says_what_it_holds_and_what_each_kind_needs(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(InputError) as raised:
        recognise(tmp_path)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path}: no data set. It holds 2 images, JPEGImages/, notes.txt; ")
    assert all(need in message for need in NEEDS.values())
    with pytest.raises(InputError, match="a file; expected a folder"):
        recognise(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="no such folder"):
        recognise(tmp_path / "none")


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modes do not stop root, who may run the tests."""
    (closed := tmp_path / "closed").mkdir()
    listed, is_dir = Path.iterdir, Path.is_dir

    def refuse(path: Path) -> None:
        if path == closed or closed in path.parents:
            raise PermissionError(13, "Permission denied", str(path))

    def iterdir(folder: Path) -> Iterator[Path]:
        refuse(folder)
        return listed(folder)

    def is_dir_inside(folder: Path) -> bool:
        if folder != closed:
            refuse(folder)
        return is_dir(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(InputError, match="closed: may not be read") as raised:
        recognise(closed)
    assert raised.value.field == str(closed)
    monkeypatch.setattr(Path, "is_dir", is_dir_inside)
    with pytest.raises(InputError, match="may not be read"):
        recognise(closed)
    with pytest.raises(InputError, match=r"no data set\. It holds closed/;"):
        recognise(tmp_path)


def test_the_folder_that_was_probably_meant_is_named(tmp_path: Path) -> None:
    inner = write_images(tmp_path / "outer" / "set")
    with pytest.raises(InputError, match=f"did you mean {inner}\\? It holds set/"):
        recognise(tmp_path / "outer")
    with pytest.raises(InputError, match=f"did you mean {inner}"):
        recognise(inner / "images")


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert named("voc:x/y") == ("voc12", "x/y")
    assert named("C:x") == ("", "C:x"), "not a form of ours"
    assert named("coco") == ("coco", "")
    (tmp_path / "coco").mkdir()
    monkeypatch.chdir(tmp_path)
    assert named("coco") == ("", "coco"), "a folder of that name"
    with pytest.raises(InputError, match="names another folder"):
        named("coco:here", "there")
    with pytest.raises(InputError, match="expected a folder after the colon"):
        named("images:")
    with pytest.raises(InputError, match="unknown data set or folder .--data. 'smaple'; did you mean 'sample'"):
        data_named("smaple")
    with pytest.raises(InputError, match="did you mean 'coco'"):
        data_named("cocoo")
    (tmp_path / "pets").mkdir()
    with pytest.raises(InputError, match="unknown data set or folder .--data. 'pest'; did you mean 'pets'"):
        data_named("pest")
