"""Several objectives in the table of trials, and the search in the plan, as a reader sees them."""

from __future__ import annotations

import shlex
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from wsss_methods import get
from wsss_platform.config import DataConfig, SampleConfig
from wsss_platform.plan.experiment import Experiment
from wsss_platform.report.table import Table
from wsss_platform.report.tables.study import front_lines, search_words, study_result, trials_table
from wsss_platform.report.terminal import rendered
from wsss_platform.run.trial_rows import TrialRow
from wsss_platform.search.documents import SearchSettings, StudyDocument, StudyReport, StudyRow


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
        evaluations=3,
        comparison=(),
        report=None,
        inner=None,
        best=rows[0],
        best_config=None,
        figure=None,
        trials=rows,
    )


def of(method: str, data: DataConfig | None = None) -> Experiment:
    return Experiment(get(method), get(method).config(), data or DataConfig())


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
    rows = (row(0, 0.2, 50.0, None),)
    none = study(rows, ()).model_copy(update={"best": None})
    found = none.model_copy(update={"best_config": "my store/best.toml"})
    photographs = DataConfig(kind="voc12", root="my tree", train_list="train_aug")
    larger = DataConfig(sample=SampleConfig(train=20))
    trees = (
        (DataConfig(), []),
        (larger, ["--set", "data.sample.train=20"]),
        (photographs, ["--data", "voc:my tree"]),
        (DataConfig(kind="coco", root="COCO", year=2017), ["--data", "coco:COCO", "--set", "data.year=2017"]),
    )
    for data, tree in trees:
        told = [str(line) for line in study_result(found, "cam", of("cam", data), Path("my store"))]
        (said,) = [line.removeprefix("train the best: ") for line in told if line.startswith("train the best: ")]
        expected = ["wsss-platform", "train", "cam", "--recipe", "my store/best.toml", *tree, "--train-split"]
        scored = [] if data.train_list == "train" else ["--score-split", "train"]
        assert shlex.split(said) == [*expected, data.train_list, *scored, "--storage", "my store"]
    shown = study_result(none, "cam", of("cam"), Path())
    assert not [line for line in shown if "train the best" in str(line)]


def test_the_comparison_is_the_table_of_a_study() -> None:
    rows = (row(0, 0.2, 50.0, None),)
    report = StudyReport(
        chosen_on="train:half-1",
        reported_on="train:half-2",
        images=80,
        seeds=1,
        selection="half of train ground truth",
        objective="best of the sweep",
        overlap=False,
        against="baseline",
        evaluations={"train:half-1": 6, "train:half-2": 4},
    )
    compared = (
        StudyRow(row="baseline", method="cam", miou=30.4, threshold=0.6, seconds=46.2),
        StudyRow(row="host", method="AMN", miou=33.1, difference=2.7, low=0.5, high=4.9, seconds=80.0),
        StudyRow(row="best trial", method="fbr", trial=3, miou=None, seconds=None),
    )
    found = study(rows, ()).model_copy(update={"best": None, "comparison": compared, "report": report})
    shown = study_result(found, "fbr", of("fbr"), Path())
    (table,) = [item for item in shown if isinstance(item, Table) and "train:half-2, 80 images" in item.title]
    assert [line[0] for line in table.rows] == ["baseline (cam)", "host (AMN)", "best trial"]
    assert table.rows[1] == ("host (AMN)", "", "33.10", "+2.70", "+0.50 to +4.90", "80")
    assert table.rows[2][2] == "-"
    assert table.rows[2][-1] == "-"
    said = " ".join(map(str, shown))
    assert "chosen on train:half-1 (half of train ground truth)" in said
    assert "evaluated on ground truth 6 times on train:half-1, 4 times on train:half-2" in said
    assert "optimistic" not in said
    assert "optimistic" in " ".join(report.model_copy(update={"overlap": True}).words)
