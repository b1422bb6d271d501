"""`methods`: which there are, and every setting of one."""

from __future__ import annotations

from typing import Annotated

import typer

from wsss_platform.api.experiments import find_method
from wsss_platform.cli import options
from wsss_platform.cli.output import output
from wsss_platform.config import Section, leaves, look_up
from wsss_platform.method.documents import ListedMethod, MethodField, MethodFields, MethodList


def methods(
    name: Annotated[str | None, typer.Argument(metavar="[METHOD]", help="Show all config fields of one.")] = None,
    as_json: options.Json = False,
) -> None:
    """List the methods, or every config field of one with its default and meaning."""
    import wsss_methods
    from wsss_platform.report.tables.methods import field_table, method_table

    with output(as_json) as out:
        if name is not None:
            fields = _fields(name)
            out.result(fields, field_table(fields))
            return
        found = [find_method(each) for each in wsss_methods.names()]
        listed = tuple(
            ListedMethod(name=m.name, title=m.title, paper=m.paper, revision=m.revision, presets=tuple(m.presets()))
            for m in found
        )
        document = MethodList(methods=listed)
        out.result(document, method_table(document))


def _fields(name: str) -> MethodFields:
    method = find_method(name)
    config = method.config()
    fields = []
    for path, value in leaves(config):
        parent, _, field = path.rpartition(".")
        section = look_up(config, parent) if parent else config
        assert isinstance(section, Section)
        meaning = " ".join((type(section).model_fields[field].description or "").split())
        fields.append(MethodField(field=path, default=value, meaning=meaning))
    return MethodFields(method=method.name, title=method.title, fields=tuple(fields))
