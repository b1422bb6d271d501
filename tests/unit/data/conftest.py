"""A small VOC tree of generated images, and the real photographs where there are some."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from wsss_platform.config import DataConfig, SampleConfig
from wsss_platform.data.sample.dataset import SampleDataset
from wsss_platform.data.sample.tree import write_tree
from wsss_platform.data.voc import VocDataset

SMALL = SampleConfig(train=7, val=3, size=64)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree nobody may change."""
    folder = tmp_path_factory.mktemp("trees") / "VOC2012"
    write_tree(SampleDataset(SMALL), folder)
    return folder


@pytest.fixture
def tree(written: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(written, tmp_path / "VOC2012"))


@pytest.fixture
def opened(tree: Path) -> Callable[..., VocDataset]:
    """Open the copy with other fields of DataConfig."""

    def open_tree(**fields: str) -> VocDataset:
        return VocDataset(DataConfig(kind="voc12", root=str(tree), **fields))

    return open_tree


@pytest.fixture(scope="session")
def photographs() -> Path:
    """Root of a real VOC2012 tree."""
    sibling = Path(__file__).resolve().parents[4] / "shared" / "data" / "VOCdevkit" / "VOC2012"
    root = Path(os.environ.get("WSSS_VOC_ROOT", sibling))
    if not (root / "JPEGImages").is_dir():
        pytest.skip(f"needs a real VOC2012 tree: WSSS_VOC_ROOT is not set to one and there is no {sibling}")
    return root
