"""Several objectives in the table of trials, and the search in the plan, as a reader sees them."""

from __future__ import annotations

import shlex
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from wsss_methods import get
from wsss_platform.config import DataConfig
from wsss_platform.report.tables.study import front_lines, search_words, study_result, trials_table
from wsss_platform.report.terminal import rendered
from wsss_platform.run.trial_rows import TrialRow
from wsss_platform.search.documents import SearchSettings, StudyDocument


def row(number: int, accuracy: float | None, seconds: float, front: bool | None, **more: Any) -> TrialRow:
    values = None if front is None or accuracy is None else {"accuracy": accuracy, "seconds": seconds}
    state = "fail" if accuracy is None else "complete"
    return TrialRow(
        number, state, {"a": number}, accuracy, accuracy, 0.3, {}, 7.0, "k", None, values=values, front=front
    )


def study(rows: tuple[TrialRow, ...], front: tuple[int, ...]) -> StudyDocument:
    return StudyDocument(
        study="s",
        folder="f",
        objective="masks",
        objectives=("accuracy", "seconds"),
        front=front,
        selection="train ground truth",
        looks=3,
        report=None,
        inner=None,
        best=rows[0],
        best_config=None,
        trials=rows,
    )


def shown(rows: tuple[TrialRow, ...]) -> list[str]:
    text = StringIO()
    console = Console(file=text, width=160)
    console.print(rendered(trials_table("s", rows, "masks")))
    return text.getvalue().splitlines()


def test_costs_and_the_front_are_in_the_table() -> None:
    rows = (row(0, 0.2, 50.0, False), row(1, 0.3, 40.0, True), row(2, 0.1, 9.25, True), row(3, None, 0, False))
    lines = shown(rows)
    assert "own seconds" in lines[2]
    assert "front" in lines[2]
    order = [line.split()[1] for line in lines if line.startswith("│")]
    assert order == ["1", "0", "2", "3"]
    marked = {line.split()[1] for line in lines if line.startswith("│") and "*" in line}
    assert marked == {"1", "2"}
    assert any("9.25" in line for line in lines)
    assert "trials 1, 2, the most accurate first" in front_lines(study(rows, (1, 2)))[0]


def test_a_study_of_one_looks_as_before() -> None:
    rows = (row(0, 0.2, 50.0, None),)
    assert len(shown(rows)) > 4
    assert not any("own seconds" in line or "front" in line for line in shown(rows))
    assert front_lines(study(rows, ())) == []


def test_the_plan_says_how_it_searches() -> None:
    search: dict[str, Any] = {
        "sampler": "tpe",
        "scheduler": "asha",
        "objectives": ["accuracy"],
        "rungs": [2, 6],
        "budget": {"trials": 10, "hours": None, "gpu_hours": 1.5},
    }
    lines = search_words(SearchSettings.model_validate(search))
    assert lines[0].startswith("sampler tpe; scheduler asha: rungs after epochs 2, 6")
    assert lines[1] == "budget: 10 trials in total, or 1.5 GPU-hours of all trials and calls"
    several = SearchSettings.model_validate({**search, "objectives": ["accuracy", "seconds"], "rungs": []})
    assert "no trial is stopped early, as there are several objectives" in search_words(several)[0]


def test_the_command_that_trains_the_best_config_is_whole() -> None:
    rows, default = (row(0, 0.2, 50.0, None),), get("cam").config()
    none = study(rows, ()).model_copy(update={"best": None})
    found = none.model_copy(update={"best_config": "my store/best.toml"})
    photographs = DataConfig(kind="voc12", root="my tree", train_list="train_aug")
    coco = DataConfig(kind="coco", root="COCO", year=2017)
    named = ["--data", "coco:COCO", "--set", "data.year=2017"]
    for data, tree in ((DataConfig(), []), (photographs, ["--data", "voc:my tree"]), (coco, named)):
        told = [str(line) for line in study_result(found, "cam", default, data, Path("my store"))]
        (said,) = [line.removeprefix("train it with: ") for line in told if line.startswith("train it with: ")]
        expected = ["wsss-platform", "train", "cam", "--recipe", "my store/best.toml", *tree]
        assert shlex.split(said) == [*expected, "--train-list", data.train_list, "--storage", "my store"]
    shown = study_result(none, "cam", default, DataConfig(), Path())
    assert not [line for line in shown if "train it with" in str(line)]
