"""`methods`, `leaderboard`, `show`: look at what there is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from wsss_platform.cli import options
from wsss_platform.cli.output import note, output
from wsss_platform.config import Section, leaves, look_up
from wsss_platform.errors import InputError
from wsss_platform.store.artefacts import Store


def methods(
    name: Annotated[str | None, typer.Argument(metavar="[METHOD]", help="Show all config fields of one.")] = None,
    as_json: options.Json = False,
) -> None:
    """List the methods, or every config field of one with its default and meaning."""
    from rich.table import Table

    import wsss_methods

    with output(as_json) as out:
        if name is not None:
            out.result(*_fields(name))
            return
        found = [options.find_method(each) for each in wsss_methods.names()]
        table = Table("method", "what", "paper", "presets")
        for method in found:
            table.add_row(method.name, method.title, method.paper, ", ".join(method.presets()))
        out.result(
            [
                {"name": m.name, "title": m.title, "paper": m.paper, "revision": m.revision, "presets": [*m.presets()]}
                for m in found
            ],
            table,
        )


def _fields(name: str) -> tuple[Any, Any]:
    from rich.table import Table

    method = options.find_method(name)
    config = method.config()
    table = Table("field", "default", "meaning", title=f"{method.name}: {method.title}", title_justify="left")
    document = []
    for path, value in leaves(config):
        parent, _, field = path.rpartition(".")
        section = look_up(config, parent) if parent else config
        assert isinstance(section, Section)
        meaning = " ".join((type(section).model_fields[field].description or "").split())
        table.add_row(path, str(value), meaning)
        document.append({"field": path, "default": value, "meaning": meaning})
    return document, table


def leaderboard(
    storage: options.Storage = options.STORAGE,
    as_json: options.Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown on standard output.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV on standard output.")] = False,
) -> None:
    """Local results, grouped by protocol: rows of different protocols are never ranked together."""
    from wsss_platform.report import leaderboard as board
    from wsss_platform.report.looks import looks, looks_at
    from wsss_platform.run.records import read_records

    if sum((as_json, markdown, csv)) > 1:
        raise InputError("--json, --markdown and --csv exclude one another")
    with output(as_json) as out:
        found = read_records(Store(storage))
        for name, reason in found.damaged:
            note(f"left out: run {name}: {reason}")
        groups = board.rows(found.records)
        if markdown or csv:
            out.result(None, (board.to_markdown if markdown else board.to_csv)(groups).rstrip("\n"))
            return
        if not groups and not as_json:
            note(f"no scored run in {storage}; try `wsss-platform tune fbr` or `wsss-platform train cam --until score`")
        seen, shown = looks(Store(storage)), board.to_json(groups)
        for group, plain in zip(groups, shown, strict=True):
            one = looks_at(seen, group.protocol.score_list, group.protocol.truth)
            plain["looks"] = {**asdict(one), "total": one.total}
        out.result(shown, *board.render_tables(groups), *[one.words for one in seen if groups])


def show(
    run: options.RunName,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Default: pictures/ in the run's folder.", metavar="DIR")
    ] = None,
    count: Annotated[int, typer.Option("--count", help="Pictures of each kind: worst, best, random.", min=1)] = 4,
    ids: Annotated[list[str] | None, typer.Option("--id", help="These pictures instead; repeatable.")] = None,
    storage: options.Storage = options.STORAGE,
    as_json: options.Json = False,
) -> None:
    """Write pictures of a scored run: image, maps, mask and truth side by side, and the sweep curve."""
    from wsss_platform.cli.run import load_run
    from wsss_platform.report.looks import looks, looks_at
    from wsss_platform.report.show import show_run

    with output(as_json) as out:
        store = Store(storage)
        experiment, name = load_run(store, run)
        target = folder or store.run_folder(name) / "pictures"
        written = show_run(experiment, store, target, count=count, ids=ids or None)
        scored = experiment.data.score_list
        seen = looks_at(looks(store), scored, experiment.truth_fingerprint(scored)[:12])
        out.result(
            {
                "folder": str(target),
                "files": [str(path) for path in written],
                "looks": {**asdict(seen), "total": seen.total},
            },
            f"{len(written)} pictures in {target}",
            seen.words,
        )
