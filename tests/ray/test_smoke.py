"""The one test on a real Ray in the first tier: a run from training to score."""

from __future__ import annotations

from pathlib import Path

import pytest

from stored_files import files_of
from tiny_method import tiny_sample
from wsss_platform.engine.cluster import connect
from wsss_platform.engine.runner import RayRunner
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.pipeline import run
from wsss_platform.store.artefacts import Store


@pytest.mark.smoke
def test_a_run_on_ray_is_that_of_one_process(tmp_path: Path) -> None:
    """Ray trains, makes maps and masks, and scores: the same bytes as without it."""
    experiment = tiny_sample(images=35)  # two chunks
    stores = Store(tmp_path / "ray"), Store(tmp_path / "here")
    with connect("local", cpus=2, object_store=128 * 1024**2):
        outcome = run(experiment, stores[0], RayRunner())
    assert run(experiment, stores[1], LocalRunner(threads=1)).score == outcome.score
    assert outcome.score is not None
    for kind in ("maps", "masks", "score"):
        made, same = (files_of(store.root / "stages" / kind) for store in stores)
        assert made
        assert made == same
