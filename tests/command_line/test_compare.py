"""`compare` as a user meets it: variants, seeds, resumption, a table with intervals, bars and images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import command, document

from the_command import TINY, valid
from wsss_platform.cli.compare import parse_variant
from wsss_platform.errors import InputError
from wsss_platform.scores.score import Score
from wsss_platform.store.artefacts import Store


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("cam", ("cam", "cam", [])),
        ("mine=cam", ("mine", "cam", [])),
        ("long=cam,train.epochs=4,maps.scales=[1.0,2.0]", ("long", "cam", ["train.epochs=4", "maps.scales=[1.0,2.0]"])),
        ("cam,train.epochs=4", ("cam,train.epochs=4", "cam", ["train.epochs=4"])),
    ],
)
def test_a_variant_is_a_label_a_method_and_settings(text: str, parsed: tuple[str, str, list[str]]) -> None:
    assert parse_variant(text) == parsed


@pytest.mark.parametrize("text", ["", "a=", "cam,epochs"])
def test_a_variant_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected METHOD"):
        parse_variant(text)


@pytest.mark.slow
def test_two_variants_side_by_side(tmp_path: Path) -> None:
    variants, storage = ["short=cam", "fast=cam,train.learning_rate=1e-3"], ["--storage", str(tmp_path)]
    asked = ["compare", *variants, *TINY, "--seeds", "0,3", "--local", "--wandb", "disabled", *storage]
    plan = document(*asked, "--dry-run")
    assert [(run["variant"], run["seed"], len(run["run"])) for run in plan["runs"]] == [
        ("short", 0, 4),
        ("short", 3, 4),
        ("fast", 0, 4),
        ("fast", 3, 4),
    ]
    assert not list(tmp_path.iterdir())

    found = document(*asked, "--images", "2")
    assert [row["label"] for row in found["rows"]] == ["short", "fast"]
    difference = found["differences"][0]
    assert {"context taken", "plain parts found"} <= difference["effects"].keys()
    gap = difference["mean_iou"]
    assert gap["value"] == pytest.approx(found["rows"][1]["mean_iou"] - found["rows"][0]["mean_iou"])
    assert gap["low"] <= gap["value"] <= gap["high"]
    folder = Path(found["folder"])
    assert valid(json.loads((folder / "comparison.json").read_text())) == found
    assert (folder / "table.md").read_text().count("| fast |") == 2
    assert [row["training_seconds"] > 0 for row in found["rows"]] == [True, True]
    assert f"| fast | 2 | {found['rows'][1]['training_seconds']:.0f} s |" in (folder / "table.md").read_text()
    drawn = {path.name for path in folder.glob("*.png")}
    assert {"classes.png", "effects.png"} < drawn
    assert len(drawn) == 4
    assert len(list((tmp_path / "runs").glob("*/run.json"))) == 4

    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("stages/*/*/manifest.json")}
    again = document(*asked, "--at", "masks")
    assert all(path.stat().st_mtime_ns == when for path, when in written.items())
    assert again["at"] == "masks"
    made = json.loads(next((tmp_path / "runs").glob("*/run.json")).read_text())["config"]["masks"]["background"]
    assert again["rows"][0]["thresholds"] == [made, made], "not the sweep's best"

    level = document(*asked, "--at", "background", "--images", "0")
    assert level["folder"] == f"{found['folder']}-background"
    assert level["rows"][0] == found["rows"][0]  # the baseline stands where its sweep is best
    keys = {(run["variant"], run["seed"]): run["key"] for run in plan["runs"]}
    first, second = (
        [Score.read(Store(tmp_path).folder("score", keys[label, seed])) for seed in (0, 3)]
        for label in ("short", "fast")
    )
    asked_for = [s.taking(float(f.background_taken[f.best])) for f, s in zip(first, second, strict=True)]
    assert level["rows"][1]["thresholds"] == [float(s.thresholds[i]) for i, s in zip(asked_for, second, strict=True)]

    page = tmp_path / "pages"
    printed = command(*asked, "--page", str(page)).stdout
    file = page / f"{folder.name}.md"
    assert str(file) in "".join(printed.split())
    text = file.read_text(encoding="utf-8")
    assert f"| fast | labels | {100 * found['rows'][1]['mean_iou']:.2f} ± " in text
    assert {path.name for path in page.glob("*.png")} == {f"{folder.name}-effects.png", f"{folder.name}-image.png"}
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text.partition("```toml\n")[2].partition("```")[0], encoding="utf-8")
    again = document("compare", "--recipe", str(recipe), "--dry-run", *storage)
    assert again == document(*asked, "--dry-run"), "the same runs, all stored"

    maps = sorted(tmp_path.glob("stages/maps/*/manifest.json"))
    maps[0].unlink()  # as `tune` drops those of trials that lost: scored, but nothing left to look at
    assert sorted(len(run["run"]) for run in document(*asked, "--dry-run")["runs"]) == [0, 0, 0, 1]
    remade = document(*asked)
    assert [row["effects"] for row in remade["rows"]] == [row["effects"] for row in found["rows"]]
    assert maps[0].exists()
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/run.json")]
    assert all(record["scores"] for record in records)

    for training in tmp_path.glob("stages/train/*/manifest.json"):
        training.unlink()
    later = document(*asked)  # trainings are not needed
    assert [row["training_seconds"] for row in later["rows"]] == [None, None]


def test_variants_without_labels_name_their_folder(tmp_path: Path) -> None:
    variants = ["cam,train.epochs=4,maps.scales=[0.5,1.0]", "cam"]
    plan = document("compare", *variants, "--seeds", "1", "--dry-run", "--storage", str(tmp_path))
    assert [run["variant"] for run in plan["runs"]] == variants
    assert plan["comparison"].startswith("cam-train.epochs-4-maps.scales-0.5-1.0-cam-sample-")


def test_a_place_that_is_none_for_a_page_is_refused_before_anything_runs(tmp_path: Path) -> None:
    other = tmp_path / "other.md"
    other.write_text("my own text\n")
    asked = ("compare", "cam", "drs", "--storage", str(tmp_path / "storage"))
    assert "expected another file" in _words(command(*asked, "--page", str(other), code=2).stderr)
    assert "a file that ends in .md" in _words(command(*asked, "--page", str(tmp_path / "a.html"), code=2).stderr)
    assert other.read_text() == "my own text\n"
    assert not (tmp_path / "storage").exists()


def _words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cam", "cam"], "two variants are called 'cam'"),
        (["cam", "drz"], "did you mean 'drs'? (in variant 'drz')"),
        (["cam", "mine=drs,maps.gate=predicted"], "expected 'labels' or 'none' (in variant 'mine')"),
        (
            ["cam", "b=cam,data.sample.seed=1"],
            "variant 'b' is scored on other images or another ground truth",
        ),
        (
            ["cam", "b=cam,data.score_list=val"],
            "variant 'b' is scored on other images or another ground truth",
        ),
        (["cam", "--seeds", "0,0"], "--seeds '0,0'"),
        (["cam", "--at", "bset"], "did you mean 'best'"),
    ],
)
def test_wrong_input_is_named(arguments: list[str], said: str, tmp_path: Path) -> None:
    refused = command("compare", *arguments, "--storage", str(tmp_path), code=2)
    assert said in " ".join(refused.stderr.split())
