"""A small data set, and a run on it."""

from __future__ import annotations

from pathlib import Path

import pytest

import wsss_platform.api as wsss
from quick_runs import GIVEN, QUICK


@pytest.fixture(scope="module")
def data() -> wsss.Data:
    """A small sample."""
    return wsss.sample(train=8, val=4, size=48)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage folder."""
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def run(data: wsss.Data, storage: Path) -> wsss.Run:
    """A scored run in it."""
    return wsss.train("cam", data, QUICK, until="score", storage=storage, **GIVEN)
