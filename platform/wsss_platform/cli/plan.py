"""A plan as a table."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def plan_table(document: dict[str, Any]) -> Table:
    """The plan as a table."""
    resources = ", ".join(f"{name} {value}" for name, value in document["resources"].items())
    table = Table(title=f"{document['method']}: seed {document['seed']}; {resources}", title_justify="left")
    for heading in ("stage", "list", "work", "key", "state"):
        table.add_column(heading)
    for stage in document["stages"]:
        state = "in the store" if stage["cached"] else "to do" if stage["run"] else "not needed"
        table.add_row(stage["stage"], stage["list"], stage["amount"], stage["key"][:12], state)
    return table
