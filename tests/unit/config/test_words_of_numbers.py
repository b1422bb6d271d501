"""Numbers with their nouns, where a verb prints them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wsss_platform.config import SampleConfig
from wsss_platform.config.words import counted
from wsss_platform.data.check import inspect, verdict
from wsss_platform.data.reading import Problem
from wsss_platform.data.sample.dataset import SampleDataset
from wsss_platform.report.tables.store import verification_lines
from wsss_platform.upkeep.documents import DamagedEntry, StoreVerification


@pytest.mark.parametrize(("count", "expected"), [(0, "0 entries"), (1, "1 entry"), (2, "2 entries")])
def test_one_is_singular(count: int, expected: str) -> None:
    assert counted(count, "entry", "entries") == expected


def test_a_verdict_on_one_image() -> None:
    dataset = SampleDataset(SampleConfig(train=1, val=1, size=48))
    one = inspect(dataset, "train")
    assert verdict([one])[1] == "ready: 1 image with labels, 1 with ground truth; nothing wrong"
    wrong = replace(one, problems=(Problem("b.jpg", "broken"),), masked=frozenset())
    expected = "not ready: 1 problem, see above; the rest is 1 image with labels, none with ground truth"
    assert verdict([wrong])[1] == expected


def test_a_store_with_one_damaged_entry() -> None:
    damaged = DamagedEntry(kind="masks", key="k", reason="no manifest")
    found = StoreVerification(entries=1, damaged=(damaged,), remarks=())
    assert verification_lines(found)[-1] == "1 entry read, 1 problem"
