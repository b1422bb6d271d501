"""Images that fail: named with the reason, no more of them than allowed, and what is left of them is honest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from broken_images import BROKEN, tree
from wsss_platform.errors import InputError
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.jobs import Chunk, ChunkReport
from wsss_platform.run.chunks.images import ImageWork
from wsss_platform.run.local_runner import LocalRunner
from wsss_platform.run.pipeline import FAILURES, StageProgress, run
from wsss_platform.store.artefacts import Store


def test_failures_are_counted_listed_and_limited(tmp_path: Path) -> None:
    experiment = tree(tmp_path / "VOC2012")
    strict, kind = Store(tmp_path / "storage"), LocalRunner(threads=1)
    seen: list[StageProgress] = []
    with pytest.raises(InputError, match=r"maps:cam: 2 of 34 images failed, 0 may") as caught:
        run(experiment, strict, kind, lambda event: seen.append(event) if isinstance(event, StageProgress) else None)
    assert all(f"{name}.jpg" in str(caught.value) for name in BROKEN)
    assert max(event.failures for event in seen) == 2
    maps, score = experiment.stage("maps"), experiment.stage("score")
    listed = json.loads((strict.partial("maps", maps.key) / FAILURES).read_text())
    assert [name for name, _ in listed] == list(BROKEN)

    # one may fail: still too few; two: the rest is made, from what is there already
    with pytest.raises(InputError, match="2 of 34 images failed, 1 may"):
        run(experiment, Store(tmp_path / "storage", max_failures=1), kind)
    lenient = Store(tmp_path / "storage", max_failures=2)
    outcome = run(experiment, lenient, kind)
    assert outcome.score is not None
    assert outcome.score["images"] == 32
    for stage in (maps, experiment.stage("masks"), score):
        artefact = lenient.open(stage.kind, stage.key)
        assert artefact.manifest["failures"] == 2
        failures = json.loads((artefact.folder / FAILURES).read_text())
        assert failures == listed, "later stages name the first reason"

    # who allows nothing does not take it for finished; repaired, it is completed and no trace is left
    assert lenient.has("score", score.key)
    assert not strict.has("score", score.key)
    for name in BROKEN:
        Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / f"VOC2012/JPEGImages/{name}.jpg")
    repaired = Experiment(experiment.method, experiment.config, experiment.data)
    whole = run(repaired, strict, kind)
    assert whole.score is not None
    assert whole.score["images"] == 34
    folders = [strict.open(stage.kind, stage.key).folder for stage in repaired.stages]
    assert not [path for folder in folders for path in folder.glob("failures*")]
    assert not [path for folder in folders for path in folder.glob("at-*")]


def test_not_one_image_is_a_failure_whatever_is_allowed(tmp_path: Path) -> None:
    experiment = tree(tmp_path / "VOC2012")
    lists = tmp_path / "VOC2012/ImageSets/Segmentation"
    (lists / "broken.txt").write_text("\n".join(BROKEN) + "\n")
    data = experiment.data.model_copy(update={"score_list": "broken"})
    with pytest.raises(InputError, match="2 of 2 images failed, 9 may"):
        run(
            Experiment(experiment.method, experiment.config, data),
            Store(tmp_path / "storage", max_failures=9),
            LocalRunner(threads=1),
        )


@dataclass(frozen=True)
class Cut(ImageWork):
    """Its process dies when the output of the first attempt is written; one image is bad, another too large."""

    def __call__(self, chunk: Chunk) -> ChunkReport:
        output = self.folder / "output"
        if self._done(chunk, output):
            return ChunkReport(chunk.index, len(chunk.ids))

        def make(image: str) -> str:
            if image == "bad":
                raise InputError("bad.jpg: truncated")
            if image == "large":
                raise MemoryError("no room")
            return image

        made, failures = self._each(chunk, make)
        first = not output.exists()
        output.write_text(" ".join(made))
        if first:
            raise KeyboardInterrupt
        return self._report(chunk, len(made), failures)


def test_a_death_between_output_and_report_hides_no_failure(tmp_path: Path) -> None:
    experiment = tree(tmp_path / "VOC2012")
    work = Cut(experiment, experiment.phases[-1], "all", tmp_path)
    chunk = Chunk(0, ("a", "bad", "large"))
    (tmp_path / "at-000000").write_text("a")  # of a process killed before
    with pytest.raises(KeyboardInterrupt):
        work(chunk)
    report = work(chunk)
    assert report.images == 1
    assert dict(report.failures) == {"bad": "bad.jpg: truncated", "large": "image large: MemoryError: no room"}
    assert work.working_on(chunk) is None


def test_what_a_killed_writer_left_is_not_committed(tmp_path: Path) -> None:
    store, key = Store(tmp_path), "b" * 64
    with store.building("maps", key) as folder:
        assert folder is not None
        (folder / "masks").mkdir()
        for name in (".a.123.tmp", "masks/.b.456.tmp", "kept"):
            (folder / name).write_text("x")
        artefact = store.commit("maps", key, {})
    assert {path.name for path in artefact.folder.rglob("*") if path.is_file()} == {"kept", "manifest.json"}


def test_a_stricter_run_that_fails_leaves_the_finished_artefact(tmp_path: Path) -> None:
    lenient, strict, key = Store(tmp_path, max_failures=2), Store(tmp_path), "c" * 64
    with lenient.building("maps", key) as folder:
        assert folder is not None
        (folder / "data").write_text("x")
        lenient.commit("maps", key, {"failures": 1})
    with pytest.raises(RuntimeError, match="still bad"), strict.building("maps", key) as folder:
        assert folder is not None
        assert (folder / "data").read_text() == "x"
        raise RuntimeError("still bad")
    assert lenient.has("maps", key)
    assert not strict.has("maps", key)


def test_memory_is_given_back_after_each_chunk_of_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr("wsss_platform.run.chunks.maps.give_back_freed_memory", lambda: given.append(1))
    run(tree(tmp_path / "VOC2012"), Store(tmp_path / "storage", max_failures=2), LocalRunner(threads=1))
    assert len(given) == 2, "34 images are two chunks"
