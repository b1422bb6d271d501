"""`methods`: which there are, and every setting of one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wsss_platform.api.experiments import find_method
from wsss_platform.cli import options
from wsss_platform.cli.output import output
from wsss_platform.config import Section, leaves, look_up


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
        found = [find_method(each) for each in wsss_methods.names()]
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

    method = find_method(name)
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
