"""Recipes: every shipped one is planned; the command line goes before a recipe, a recipe before the preset."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from in_process import command, document

from the_command import TINY
from wsss_platform.config.shipped import shipped_file, shipped_names

RECIPES = shipped_names("recipes", ".toml")


@pytest.mark.parametrize("name", RECIPES)
def test_every_shipped_recipe_is_planned(name: str, tmp_path: Path) -> None:
    told = tomllib.loads(shipped_file("recipes", name, ".toml").read_text(encoding="utf-8"))
    found = document(told["verb"], "--recipe", name, "--dry-run", "--storage", str(tmp_path))
    if found["schema"] == "wsss-platform/missing-inputs":
        assert found["missing"], name
        return
    expected = {"train": "run-plan", "tune": "study-plan", "compare": "comparison-plan", "search": "search-plan"}
    assert found["schema"] == f"wsss-platform/{expected[told['verb']]}"


def test_the_search_is_planned_once_its_run_is_there(tmp_path: Path) -> None:
    """It needs 140 images with maps; what else it says holds for a smaller sample."""
    storage = ("--storage", str(tmp_path))
    sized = [*TINY, "--set", "data.sample.train=20"]
    asked = ("search", "--recipe", "sample/crf", "--dry-run", *storage)
    command("train", "cam", *sized, "--name", "cam", "--local", *storage)
    assert [each["what"] for each in document(*asked)["missing"]] == ["maps: of run cam"]
    command("maps", "cam", "--local", *storage)
    plan = document(*asked, "--images", "10", "--confirm", "8")
    assert plan["schema"] == "wsss-platform/search-plan"
    assert plan["settings"] == 33, "the recipe's number, and no CRF"
    other = document("search", "other", "--recipe", "sample/crf", "--dry-run", *storage)
    assert [each["what"] for each in other["missing"]] == ["run: other"], "the run that was typed"


def test_settings_of_a_search_recipe_count(tmp_path: Path) -> None:
    storage = ("--storage", str(tmp_path))
    command(
        "train", "cam", *TINY, "--set", "data.sample.train=20", "--name", "cam", "--until", "maps", "--local", *storage
    )
    space = tmp_path / "space.toml"
    space.write_text(
        '[axes."masks.crf"]\nkind = "categorical"\nchoices = ["none", "irn", "afa"]\nreason = "for this test"\n'
    )
    text = f'run = "cam"\n{{}}\n[search]\nspace = "{space}"\nimages = 10\nconfirm = 8\ntrials = 3\n'
    asked = ("search", "--recipe", written(tmp_path, text.format("[masks]\nno_such = 1")), *storage)
    assert "masks.no_such" in command(*asked, code=2).stderr
    plan = document("search", "--recipe", written(tmp_path, text.format('[masks]\ncrf = "irn"')), "--dry-run", *storage)
    assert "irn" not in plan["candidates"], "as configured is irn"


def test_a_list_of_one_seed_is_that_seed(tmp_path: Path) -> None:
    text = '[compare]\nseeds = {}\n[compare.variants.cam]\nmethod = "cam"\n'
    for seeds, expected in (("[2]", [2]), ("[0, 5]", [0, 5]), ("2", [0, 1])):
        recipe = written(tmp_path, text.format(seeds))
        plan = document("compare", "--recipe", recipe, "--dry-run", "--storage", str(tmp_path))
        assert [each["seed"] for each in plan["runs"]] == expected


def test_settings_of_a_phase_that_is_called_as_an_option_are_settings(tmp_path: Path) -> None:
    """The first phase of fbr is called seed, as the option is."""
    text = "seed.train.epochs = 3\n"
    plan = document("train", "fbr", "--recipe", written(tmp_path, text), "--dry-run", "--storage", str(tmp_path))
    assert (plan["config"]["seed"]["train"]["epochs"], plan["seed"]) == (3, 0)


def test_all_four_verbs_have_a_recipe() -> None:
    verbs = {tomllib.loads(shipped_file("recipes", name, ".toml").read_text())["verb"] for name in RECIPES}
    assert verbs == {"train", "tune", "compare", "search"}


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


TRAIN = """
verb = "train"
method = "cam"
until = "maps"
seed = 3

[train]
epochs = 5
batch = 4

[data]
kind = "sample"
score_list = "val"
sample.size = 64
"""


def test_command_line_over_recipe_over_preset(tmp_path: Path) -> None:
    recipe = written(tmp_path, TRAIN)
    preset = document("train", "cam", "--until", "maps", "--dry-run", "--storage", str(tmp_path))
    plain = document("train", "--recipe", recipe, "--dry-run", "--storage", str(tmp_path))
    assert plain["seed"] == 3
    assert [stage["stage"] for stage in plain["stages"]][-1] == "maps:cam"
    assert (plain["config"]["train"]["epochs"], plain["config"]["train"]["batch"]) == (5, 4)
    assert plain["config"]["train"]["crop"] == preset["config"]["train"]["crop"], "what it does not say is the preset's"
    assert (plain["data"]["score_list"], plain["data"]["sample"]["size"]) == ("val", 64)
    typed = ("--set", "train.epochs=2", "--seed", "0", "--score-split", "train", "--until", "train")
    over = document("train", "--recipe", recipe, *typed, "--dry-run", "--storage", str(tmp_path))
    assert over["seed"] == 0
    assert (over["config"]["train"]["epochs"], over["config"]["train"]["batch"]) == (2, 4)
    assert over["data"]["score_list"] == "train"
    assert [stage["stage"] for stage in over["stages"]] == ["train:cam"]
    alias = document("train", "--config", recipe, "--dry-run", "--storage", str(tmp_path))
    assert alias == plain


def test_what_is_missing_is_listed_with_what_makes_it(tmp_path: Path) -> None:
    recipe = written(
        tmp_path,
        """
        verb = "train"
        method = "cam"
        weights = ["cam=nowhere.pt"]
        [data]
        kind = "voc12"
        root = "no/such/tree"
        saliency = "sal"
        """,
    )
    found = document("train", "--recipe", recipe, "--dry-run", "--storage", str(tmp_path))
    assert [each["what"].partition(":")[0] for each in found["missing"]] == ["data", "saliency", "weights"]
    assert "no/such/tree" in found["missing"][0]["what"]
    assert "import-weights" in found["missing"][2]["command"]
    lines = command("train", "--recipe", recipe, "--dry-run", "--storage", str(tmp_path)).stdout
    assert "missing: data: a VOC tree at no/such/tree" in lines
    search = document("search", "--recipe", "sample/crf", "--dry-run", "--storage", str(tmp_path))
    assert [each["what"] for each in search["missing"]] == ["run: cam"]


@pytest.mark.parametrize(
    ("verb", "text", "expected"),
    [
        ("train", 'verb = "tune"', "a recipe for `wsss-platform tune`; expected one for train"),
        ("train", 'verb = "trian"', "did you mean 'train'"),
        ("train", "[study]\ntrials = 3", "[study] belongs to another verb"),
        ("tune", 'method = "fbr"\n[study]\ntrails = 3', "unknown option of tune in"),
        ("tune", 'method = "fbr"\n[study]\ntrails = 3', "did you mean 'trials'"),
        ("tune", 'method = "fbr"\n[study]\ntrials = "many"', "trials (--trials)"),
        ("tune", 'method = "fbr"\n[study]\ntrials = 0', "expected at least 1"),
        ("train", 'method = "cam"\n[trian]\nepochs = 3', "did you mean 'train"),
        ("train", "method = 3", "method: expected a text"),
        ("train", "seed = 1", "METHOD is missing"),
        ("search", "[search]\ntrials = 3", "RUN is missing"),
        ("compare", "[compare.variants.a]\nx = 1", "names no method"),
        ("compare", "[compare]\nseeds = 2", "no variants"),
        ("compare", '[compare.variants]\ncam = "cam"', "expected a table with method"),
        ("compare", "[compare]\nvariants = 3", "variants: expected a table"),
        ("compare", 'method = "cam"', "method: compare takes none"),
        ("search", 'method = "cam"', "method: search takes none; expected run"),
        ("train", 'run = "cam"', "run: train takes no run"),
        ("tune", "[study.variants]\nx = 1", "unknown option of tune"),
        ("tune", 'method = "fbr"\n[study]\nas_json = true', "the command line alone has this option"),
        ("tune", 'method = "fbr"\n[study]\ndata = "voc12"', "has another place in a recipe"),
        ("tune", 'method = "fbr"\nseed = 1\n[study]\nseed = 2', "has another place in a recipe"),
        ("train", "method = cam", "not a TOML file"),
    ],
)
def test_a_wrong_recipe_is_explained(verb: str, text: str, expected: str, tmp_path: Path) -> None:
    told = command(verb, "--recipe", written(tmp_path, text), "--storage", str(tmp_path), code=2).stderr
    assert expected in " ".join(told.split())


def test_an_unknown_recipe_gets_the_nearest_name(tmp_path: Path) -> None:
    told = command("train", "--recipe", "sample/cma", "--storage", str(tmp_path), code=2).stderr
    assert "did you mean 'sample/cam'?" in " ".join(told.split())


def test_a_search_takes_a_run_that_is_named_as_a_method(tmp_path: Path) -> None:
    told = command("search", "cam", "--storage", str(tmp_path), code=2).stderr
    assert "unknown run 'cam'" in " ".join(told.split())
