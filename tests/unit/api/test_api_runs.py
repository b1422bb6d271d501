"""Runs from Python: scores, CAMs, masks, comparisons, records, silence on standard output."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import wsss_platform.api as wsss
from quick_runs import GIVEN, QUICK
from wsss_platform.api._store import store_clear, store_list, store_pull, store_push, store_verify
from wsss_platform.errors import InputError


def test_a_run_has_what_was_promised(run: wsss.Run, data: wsss.Data) -> None:
    score = run.score
    assert 0 <= score.interval[0] <= score.miou <= score.interval[1] <= 100
    assert score.best.miou == pytest.approx(np.nanmax(score.sweep.miou))
    assert score.best.threshold in score.sweep.thresholds
    assert set(score.per_class) == {"background", *data.classes}
    assert list(score.sweep.to_pandas().columns) == ["threshold", "miou"]
    assert len(score.to_pandas()) == len(score.per_class)
    assert score.images == len(run.maps) == 8
    assert f"{score.miou:.2f}" in repr(score)
    image = next(iter(run.maps))
    maps = run.maps[image]
    assert maps.scores.dtype == np.float32
    assert maps.scores.shape[0] == len(maps.classes) > 0
    assert set(maps.classes) <= set(data.classes)
    assert run.mask(image).shape == maps.scores.shape[1:]
    everything, nothing = run.mask(image, background=0.0), run.mask(image, background=1.0)
    assert (everything > 0).mean() > (nothing > 0).mean()
    assert isinstance(run.show(images=3), Figure)
    assert run.protocol.score_images == 8


def test_a_mask_at_the_runs_own_threshold_is_the_mask_as_made(run: wsss.Run) -> None:
    rule = run.experiment.masks_config(run.experiment.phases[-1])
    assert (rule.rule, rule.crf) == ("constant", "none")
    for image in run.maps:
        np.testing.assert_array_equal(run.mask(image), run.mask(image, background=rule.background))


def test_rules_and_differences(run: wsss.Run, tmp_path: Path) -> None:
    found = wsss.score_rule(run, "power", subsets=["all", "image=0..1e9"])
    assert [row.subset for row in found.subsets] == ["all", "image=0..1e9"]
    config = tmp_path / "best.toml"
    config.write_text("[masks]\nbackground = 0.7\n")
    other = wsss.score(wsss.masks(run, settings=config, progress=False), **GIVEN)
    gap = wsss.score_difference(run, other).masks
    assert 100 * gap.a.value == pytest.approx(run.score.miou)
    assert gap.difference.value == pytest.approx(gap.a.value - gap.b.value)


def test_a_run_is_opened_again_and_goes_on(run: wsss.Run, storage: Path) -> None:
    again = wsss.open_run(run.name, storage)
    assert again.score.miou == run.score.miou
    other = wsss.masks(again, settings={"masks.background": 0.6}, progress=False)
    assert other.name != run.name
    scored = wsss.score(other, **GIVEN)
    assert scored.score.best == run.score.best, "the sweep is of the same maps"
    of_val = wsss.maps(run.name, split="val", storage=storage, progress=False)
    assert len(of_val.maps) == 4
    with pytest.raises(InputError, match="has not been scored|has no score"):
        _ = of_val.score
    with pytest.raises(InputError, match="this changes the training"):
        wsss.maps(run, settings={"train.epochs": 2}, progress=False)


def test_a_study_best_config_is_settings(run: wsss.Run, data: wsss.Data, storage: Path, tmp_path: Path) -> None:
    config = tmp_path / "best.toml"
    lines = ["[chosen]", 'selection = "train ground truth"', "[masks]", "background = 0.6"]
    config.write_text("\n".join(lines))
    planned = wsss.train("cam", data, config, until="train", storage=tmp_path, **GIVEN)
    assert planned.experiment.config.masks.background == 0.6
    assert planned.protocol.selection == "train ground truth"


def test_images_are_drawn_into_a_folder(run: wsss.Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = run.draw(tmp_path / "some", count=1)
    kinds = {Path(file).name.split("-")[0] for file in found.files}
    assert kinds == {"sweep.png", "classes.png", "worst", "best", "random"}
    assert all(Path(file).parent == tmp_path / "some" for file in found.files)
    assert "evaluated on ground truth" in found.evaluations.words
    image = next(iter(run.maps))
    assert f"{image}.png" in {Path(file).name for file in run.draw(images=[image]).files}
    assert (run.folder / "images" / f"{image}.png").is_file()
    with pytest.raises(InputError, match="did you mean"):
        run.draw(tmp_path / "none", images=[image[:-1]])
    assert capfd.readouterr() == ("", "")


def test_the_storage_is_looked_at_copied_and_cleared(
    run: wsss.Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    there, pulled = tmp_path / "there", tmp_path / "pulled"
    pushed = store_push(run.name, str(there), run.store.root, progress=False)
    assert (pushed.away, len(pushed.stages)) == (True, 4)
    assert store_pull(run.name, str(there), pulled, progress=False).files == pushed.files
    assert len(store_list(pulled).entries) == 4
    assert store_verify(pulled, full=True, progress=False).damaged == ()
    shutil.rmtree(pulled / "runs")
    plan = store_clear(pulled, days=0)
    assert (plan.deleted, len(plan.entries)) == (False, 4)
    assert len(store_list(pulled).entries) == 4, "a plan deletes nothing"
    assert store_clear(pulled, days=0, delete=True).bytes == plan.bytes > 0
    assert store_list(pulled).entries == ()
    for wrong in ({"days": -1}, {"days": float("nan")}, {"keep_best": 0}):
        with pytest.raises(InputError, match="or more"):
            store_clear(pulled, **wrong)
    assert capfd.readouterr() == ("", "")


def test_export_writes_masks(run: wsss.Run, tmp_path: Path) -> None:
    found = wsss.export(run, tmp_path / "out", progress=False)
    assert (found.images, found.lacking) == (8, ())
    assert len(list((tmp_path / "out").rglob("*.png"))) == 8
    with pytest.raises(InputError, match="did you mean 'voc'"):
        wsss.export(run, tmp_path / "out", layout="vok", progress=False)


def test_variants_are_compared_with_the_first(data: wsss.Data, storage: Path) -> None:
    variants: dict[str, Any] = {"cam": "cam", "ours": ("cam", {"loss.classification": 0.5})}
    found = wsss.compare(variants, data, QUICK, seeds=2, storage=storage, **GIVEN)
    assert [row.label for row in found.rows] == ["cam", "ours"]
    for row, said in zip(found.rows, found.document.rows, strict=True):
        assert said.mean_iou is not None
        assert row.miou == 100 * said.mean_iou
        assert len(row.by_seed) == len(row.seeds) == len(row.thresholds) == 2
        assert row.miou == pytest.approx(np.mean([value for value in row.by_seed if value is not None]))
        assert set(row.per_class) == {"background", *data.classes}
        assert row.effects.keys() == said.effects.keys()
    (difference,), (gap,) = found.differences, [each.mean_iou for each in found.document.differences]
    assert (difference.label, difference.against) == ("ours", "cam")
    assert gap.value is not None
    assert difference.miou == 100 * gap.value
    baseline, ours = (row.miou for row in found.rows)
    assert difference.miou == pytest.approx((ours or 0) - (baseline or 0))
    assert difference.interval[0] <= difference.miou <= difference.interval[1]
    assert difference.effects.keys() == found.rows[0].effects.keys()
    assert list(found.to_pandas()["variant"]) == ["cam", "ours"]
    assert list(found.to_pandas()["miou"]) == [baseline, ours]
    assert "| cam |" in found.to_markdown()
    assert (found.folder / "comparison.json").is_file()
    board = wsss.leaderboard(storage)
    assert len(board) >= 2
    assert len(board.to_pandas()) == len(board)
    groups = len(board.groups)
    assert repr(board) == f"<leaderboard: {len(board)} rows in {groups} group{'s' if groups > 1 else ''}>"
    assert "| rank |" in board.to_markdown()


def test_nothing_is_written_to_standard_output(
    data: wsss.Data, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = wsss.train("cam", data, QUICK, until="maps", storage=tmp_path, wandb="disabled")
    wsss.masks(run, progress=False)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "maps:cam" in shown.err
    assert "masks:cam" not in shown.err


def test_a_call_leaves_the_record_of_the_command(run: wsss.Run) -> None:
    record = json.loads((run.folder / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["scores"]["fixed"]["mean_iou"] == pytest.approx(run.score.miou / 100)
    assert set(record["stages"]) == {"train:cam", "maps:cam", "masks:cam", "score:cam"}
