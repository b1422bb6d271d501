"""`data`: list the splits of a data set, check every file of it, convert labels, write the sample to disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from wsss_platform.api import _datasets as datasets
from wsss_platform.api._data import Data, data_named
from wsss_platform.cli.options import settings, verb
from wsss_platform.cli.output import Output
from wsss_platform.config.options import option
from wsss_platform.config.verb_options import JsonOptions, OpenOptions
from wsss_platform.config.words import counted
from wsss_platform.errors import InputError

app = typer.Typer(help="List, check and convert data.", no_args_is_help=True)
Target = Annotated[Path, typer.Argument(help="Folder to create.", show_default=False)]


def _named(options: OpenOptions) -> Data:
    return data_named(options.data, options.root, settings=settings(options.changes))


@app.command("lists", hidden=True)  # as it was called before
@app.command("splits")
@verb("data splits", OpenOptions)
def splits(*, options: OpenOptions, out: Output) -> None:
    """List the splits of a data set with their numbers of images."""
    from wsss_platform.report.tables.data import lists_table

    document = datasets.data_lists(_named(options))
    out.result(document, lists_table(options.data, document))


@dataclass(frozen=True)
class CheckOptions(OpenOptions):
    """Of `data check`."""

    names: list[str] | None = option(
        None, "Check this split; repeatable. Default: all.", "Data", flag="--split", metavar="NAME", former="--list"
    )


@app.command("check")
@verb("data check", CheckOptions)
def check(*, options: CheckOptions, out: Output) -> None:
    """Decode every image and mask, name each one that is wrong, and end with a verdict.

    The exit code is 2 if the data is not ready.
    """
    from wsss_platform.report.tables.data import check_result

    document = datasets.data_check(_named(options), options.names)
    out.result(document, *check_result(document))
    if not document.ready:
        raise InputError("the data is not ready, see above")


@app.command("convert-labels")
@verb("data convert-labels", JsonOptions)
def convert_labels(
    source: Annotated[Path, typer.Argument(help="A cls_labels.npy as IRN, PSA or SEAM ship it.", show_default=False)],
    target: Annotated[Path, typer.Argument(help="The label JSON to write.", show_default=False)],
    *,
    out: Output,
) -> None:
    """Turn a pickled cls_labels.npy into label JSON, with a reader that runs no code from the file."""
    document = datasets.convert_labels(source, target)
    out.result(document, f"labels of {counted(document.images, 'image')} written to {target}")


@dataclass(frozen=True)
class SampleOptions(JsonOptions):
    """Of `data write-sample`."""

    changes: list[str] | None = option(
        None,
        "Override one setting, such as data.sample.size=96; repeatable.",
        "Data",
        flag="--set",
        metavar="PATH=VALUE",
    )


@app.command("write-sample")
@verb("data write-sample", SampleOptions)
def write_sample(folder: Target, *, options: SampleOptions, out: Output) -> None:
    """Write the built-in sample as a VOC tree, to see it or to try `--data FOLDER` on."""
    document = datasets.write_sample(_named(OpenOptions(changes=options.changes)), folder)
    out.result(document, f"a VOC tree: --data {folder}")


@dataclass(frozen=True)
class CocoOptions(JsonOptions):
    """Of `data convert-coco`."""

    year: str = option("2014", "Read this release.", "Data", metavar="2014|2017")
    only: str | None = option(
        None,
        "Convert this split alone. Default: both.",
        "Data",
        flag="--split",
        metavar="train|val",
        former="--list",
    )
    copy: bool = option(False, "Copy the images instead of linking to them.", "Output")


@app.command("convert-coco")
@verb("data convert-coco", CocoOptions)
def convert_coco(
    source: Annotated[
        Path, typer.Argument(help="COCO's folder: annotations, and train2014 with the images.", show_default=False)
    ],
    folder: Target,
    *,
    options: CocoOptions,
    out: Output,
) -> None:
    """Turn COCO's instances into class masks, labels and splits: a VOC tree.

    `--data COCO` reads COCO without it.
    """
    found = datasets.converted_coco(source, folder, options.year, options.only, options.copy)
    said = ", ".join(
        f"{name}: {counted(count, 'image')} ({found.without[name]} without annotations left out)"
        for name, count in found.tree.lists.items()
    )
    out.result(found.tree, f"{said}; --data {folder}")
