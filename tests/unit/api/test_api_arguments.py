"""Wrong names, numbers and files from Python, and what a call takes where nothing is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import wsss_platform.api as wsss
from quick_runs import GIVEN, QUICK
from wsss_platform.errors import InputError


def test_wrong_names_get_the_nearest_right_one(run: wsss.Run, storage: Path, data: wsss.Data) -> None:
    image = next(iter(run.maps))
    for call in (lambda: run.maps[image[:-1]], lambda: run.mask(image[:-1])):
        with pytest.raises(InputError, match="did you mean") as found:
            call()
        assert found.value.nearest in run.maps
    with pytest.raises(InputError, match="unknown run 'nothing'"):
        wsss.open_run("nothing", storage)
    with pytest.raises(InputError, match="did you mean 'loss.classification'"):
        wsss.train("cam", data, {"loss.clasification": 1.0}, storage=storage, **GIVEN)
    with pytest.raises(InputError, match="unknown option of tune 'trails'; did you mean"):
        wsss.tune("cam", data, trails=3)
    with pytest.raises(InputError, match="unknown split 'vla'|did you mean 'val'"):
        wsss.sample(score="vla")


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda data: wsss.train("cam", data, max_failures=-1), "max_failures .*expected at least 0, got -1"),
        (lambda data: wsss.train("cam", data, seed=-1), "seed .*expected at least 0"),
        (lambda data: wsss.train("cam", data, seed="a"), "seed .*valid integer"),
        (lambda data: wsss.train("cam", data, workers=0), "workers .*expected at least 1"),
        (lambda data: wsss.maps("nothing", workers=0), "workers .*expected at least 1"),
        (lambda data: wsss.compare({"a": ("cam",)}, data), "variant 'a': expected a method"),
        (lambda data: wsss.compare(["cam", "cam"], data), "two variants are called 'cam'"),
        (lambda data: wsss.compare("cam", data), "expected several variants"),
        (lambda data: wsss.compare(["cam"], data, seeds=[1.5]), "--seeds .1.5,."),
        (lambda data: wsss.tune("cam", data, dry_run=True), "unknown option of tune 'dry_run'"),
        (lambda data: wsss.tune("cam", data, trials=0), "trials .*expected at least 1"),
        (lambda data: wsss.search("nothing", changes=["x=1"]), "unknown option of search 'changes'"),
    ],
)
def test_wrong_arguments_are_told_before_anything_starts(
    call: Callable[[wsss.Data], object], expected: str, data: wsss.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=expected):
        call(data)
    assert not list(tmp_path.rglob("run.json"))


def test_odd_numbers_of_a_run_are_told(run: wsss.Run) -> None:
    image = next(iter(run.maps))
    for background in (-0.1, 1.5):
        with pytest.raises(InputError, match="expected a threshold of 0 to 1"):
            run.mask(image, background=background)
    with pytest.raises(InputError, match="expected at least 1"):
        run.show(images=0)
    assert run.maps.get("nothing") is None
    assert run.maps.get(image) is not None


def test_the_environment_is_heard(data: wsss.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has switched tracking off for the command has switched it off in Python, too."""
    monkeypatch.setenv("WSSS_WANDB", "disabled")
    monkeypatch.setenv("WSSS_STORAGE", str(tmp_path / "elsewhere"))
    run = wsss.train("cam", data, QUICK, progress=False)
    assert run.store.root == tmp_path / "elsewhere"
    assert not (tmp_path / "elsewhere" / "wandb").exists()
    assert wsss.open_run(run.name).name == run.name
    assert run.record.command == "wsss.train cam"


def test_settings_in_a_file_are_settings_alone(data: wsss.Data, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("seed = 3\n[train]\nepochs = 1\n")
    with pytest.raises(InputError, match="seed: expected settings alone"):
        wsss.train("cam", data, recipe, storage=tmp_path, **GIVEN)
    with pytest.raises(InputError, match="a recipe for `wsss-platform compare`"):
        recipe.write_text('verb = "compare"\n')
        wsss.tune("cam", data, recipe, storage=tmp_path, **GIVEN)
