"""`wsss-platform data`: look at a data set, check every file of it, convert labels, write the sample to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wsss_platform.api import experiments
from wsss_platform.cli import options
from wsss_platform.cli.output import console, output
from wsss_platform.config import DataConfig
from wsss_platform.errors import InputError

app = typer.Typer(help="Look at, check and convert data.", no_args_is_help=True)


def _open(data: str, root: str, changes: list[str] | None) -> tuple[DataConfig, Any]:
    from wsss_platform.data import open_data

    other, data_changes = experiments.assignments(changes)
    if other:
        raise InputError(f"--set {next(iter(other))}: this verb takes data.PATH=VALUE only")
    config = experiments.build_data(DataConfig(), data_changes, kind=data, root=root)
    return config, open_data(config)


@app.command("lists")
def lists(
    data: options.Data = "sample", root: options.Root = "", changes: options.Set = None, as_json: options.Json = False
) -> None:
    """The lists of a data set and how many pictures each has."""
    from wsss_platform.data.documents import DataLists
    from wsss_platform.report.tables.data import lists_table

    with output(as_json) as out:
        _, dataset = _open(data, root, changes)
        document = DataLists(lists=dict(dataset.lists()), classes=tuple(dataset.classes))
        out.result(document, lists_table(data, document))


@app.command("check")
def check(
    data: options.Data = "sample",
    root: options.Root = "",
    names: Annotated[
        list[str] | None, typer.Option("--list", help="List to check; repeatable. Default: all.", metavar="NAME")
    ] = None,
    changes: options.Set = None,
    as_json: options.Json = False,
) -> None:
    """Decode every picture and mask and name each one that is wrong. Exits with 2 when there is any."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from wsss_platform.data.check import inspect
    from wsss_platform.data.documents import DataCheck, ListProblem
    from wsss_platform.report.tables.data import check_result

    with output(as_json) as out:
        _, dataset = _open(data, root, changes)
        reports = []
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            for name in names or list(dataset.lists()):
                task = progress.add_task(f"checking {name}", total=None)

                def show(done: int, total: int, bar: Any = task) -> None:
                    progress.update(bar, completed=done, total=total)

                reports.append(inspect(dataset, name, show))
        problems = tuple(
            ListProblem(list=report.summary.list_name, file=problem.file, message=problem.message)
            for report in reports
            for problem in report.problems
        )
        document = DataCheck(lists=tuple(report.summary for report in reports), problems=problems)
        out.result(document, *check_result(document))
        if problems:
            raise InputError(f"{len(problems)} problems, named above")


@app.command("convert-labels")
def convert_labels(
    source: Annotated[Path, typer.Argument(help="A cls_labels.npy as IRN, PSA or SEAM ship it.")],
    target: Annotated[Path, typer.Argument(help="The label JSON to write.")],
    as_json: options.Json = False,
) -> None:
    """Turn a pickled cls_labels.npy into label JSON, with a reader that runs no code from the file."""
    from wsss_platform.data.documents import ConvertedLabels
    from wsss_platform.data.labels import convert_labels as convert

    with output(as_json) as out:
        pictures = convert(source, target)
        document = ConvertedLabels(pictures=pictures, file=str(target))
        out.result(document, f"{pictures} pictures' labels written to {target}")


@app.command("write-sample")
def write_sample(
    folder: Annotated[Path, typer.Argument(help="Folder to create.")],
    changes: options.Set = None,
    as_json: options.Json = False,
) -> None:
    """Write the built-in sample as a VOC2012 tree, to look at or to try `--data voc12` on."""
    from wsss_platform.data.documents import DataTree
    from wsss_platform.data.sample.tree import write_tree

    with output(as_json) as out:
        _, dataset = _open("sample", "", changes)
        write_tree(dataset, folder)
        document = DataTree(root=str(folder), lists=dict(dataset.lists()))
        out.result(document, f"a VOC2012 tree: --root {folder}")


@app.command("convert-coco")
def convert_coco(
    source: Annotated[Path, typer.Argument(help="COCO's folder: annotations, and train2014 with the pictures.")],
    folder: Annotated[Path, typer.Argument(help="Folder to create.")],
    year: Annotated[str, typer.Option("--year", help="Of the data set.", metavar="2014|2017")] = "2014",
    only: Annotated[
        str | None, typer.Option("--list", help="That list alone; default: both.", metavar="train|val")
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the pictures instead of linking to them.")] = False,
    as_json: options.Json = False,
) -> None:
    """Turn COCO's instances into class masks, labels and lists of pictures: a tree for `--data voc12 --root FOLDER`."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from wsss_platform.data.convert.coco import annotation_files, read_annotations
    from wsss_platform.data.convert.coco_tree import check_target, convert
    from wsss_platform.data.documents import DataTree

    with output(as_json) as out:
        found = annotation_files(source, year, only)
        check_target(folder)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("reading annotations", total=None)
            splits = {name: read_annotations(*files) for name, files in found.items()}

            def show(done: int, total: int) -> None:
                progress.update(task, description="painting masks", completed=done, total=total)

            convert(splits, folder, f"coco{year}", show, copy=copy)
        counts = {name: len(split.pictures) for name, split in splits.items()}
        said = ", ".join(
            f"{name}: {counts[name]} pictures ({split.without} without annotations left out)"
            for name, split in splits.items()
        )
        document = DataTree(root=str(folder), lists=counts)
        out.result(document, f"{said}; --data voc12 --root {folder}")
