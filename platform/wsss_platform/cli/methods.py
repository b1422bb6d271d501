"""`methods`: which there are, and every setting of one."""

from __future__ import annotations

from typing import Annotated

import typer

from wsss_platform.api.methods import method_fields, method_list
from wsss_platform.cli.options import verb
from wsss_platform.cli.output import Output
from wsss_platform.config.verb_options import JsonOptions
from wsss_platform.report.tables.methods import field_table, method_table

Name = Annotated[str | None, typer.Argument(metavar="[METHOD]", help="Show every setting of this one.")]


@verb("methods", JsonOptions)
def methods(name: Name = None, *, out: Output) -> None:
    """List the methods, or every setting of one with its default and meaning."""
    if name is None:
        listed = method_list()
        out.result(listed, method_table(listed))
        return
    fields = method_fields(name)
    out.result(fields, field_table(fields))
