"""`sites`: the clusters that `submit` knows, and whether one can be used."""

from __future__ import annotations

from typing import Annotated

import typer

from wsss_platform.api import _submit
from wsss_platform.cli.options import verb
from wsss_platform.cli.output import Output
from wsss_platform.config.verb_options import JsonOptions
from wsss_platform.errors import RunError

app = typer.Typer(help="List the sites that `submit` knows, and check one.", no_args_is_help=True)


@app.command("list")
@verb("sites list", JsonOptions)
def list_(*, options: JsonOptions, out: Output) -> None:
    """List the sites that are known by name."""
    from wsss_platform.report.tables.submit import sites_result

    document = _submit.sites()
    out.result(document, *sites_result(document))


@app.command("check")
@verb("sites check", JsonOptions)
def check(
    site: Annotated[str, typer.Argument(metavar="SITE", help="A name of `sites list`, or a TOML file.")],
    *,
    options: JsonOptions,
    out: Output,
) -> None:
    """Say whether a site can be used and what is missing.

    Exits with 1 when something is wrong.
    """
    from wsss_platform.report.tables.submit import report_result

    document = _submit.check_site(site)
    out.result(document, *report_result(document))
    if not document.ready:
        raise RunError(f"site {document.site} cannot be used yet; what to do stands above")
