"""`wsss-platform store`: what lies in the storage folder, whether it is whole, what may go, and copies elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from wsss_platform.cli import options
from wsss_platform.cli.output import console, note, output
from wsss_platform.errors import RunError
from wsss_platform.store.artefacts import Store
from wsss_platform.upkeep.inventory import Entry
from wsss_platform.upkeep.retention import DAYS, KEEP_BEST, Verdict, carry_out, judge

app = typer.Typer(help="Look at, check, clear and copy the storage folder.", no_args_is_help=True)


@app.command("list")
def list_(storage: options.Storage = options.STORAGE, as_json: options.Json = False) -> None:
    """Every stage output with its size, its age, and who refers to it."""
    with output(as_json) as out:
        verdicts = [verdict for verdict in judge(Store(storage)) if verdict.entry.state != "lock"]
        now = time.time()
        table = Table("kind", "key", "made by", "list", "size", "age", "kept because", "referred to by")
        for verdict in verdicts:
            entry = verdict.entry
            reason = f"{verdict.reason} (gc takes it)" if verdict.goes else verdict.reason
            state = "" if entry.state == "finished" else f" {entry.state}"
            row = (entry.kind + state, entry.key[:12], _maker(entry), str(entry.manifest.get("list") or "-"))
            table.add_row(*row, size_words(entry.size), _age(now - entry.changed), reason, _few(verdict.owners))
        total = f"{size_words(sum(verdict.entry.size for verdict in verdicts))} in {len(verdicts)} places"
        out.result([_plain(verdict, now) for verdict in verdicts], table, f"{total} under {Store(storage).root}")


@app.command("verify")
def verify_(
    storage: options.Storage = options.STORAGE,
    full: Annotated[bool, typer.Option("--full", help="Decode every mask, not 32 of each artefact.")] = False,
    as_json: options.Json = False,
) -> None:
    """Read every artefact as a run would and name what is damaged. Exits with 1 when there is any."""
    from wsss_platform.upkeep.verification import verify

    with output(as_json) as out:
        with console.status("reading") as status:
            seen: list[Entry] = []

            def show(entry: Entry) -> None:
                seen.append(entry)
                status.update(f"reading {entry.name}")

            found = verify(Store(storage), full=full, on_entry=show)
        damaged = [finding for finding in found if finding.damaged]
        out.result(
            {
                "entries": len(seen),
                "damaged": [{"kind": f.entry.kind, "key": f.entry.key, "reason": f.reason} for f in damaged],
                "remarks": [f.reason for f in found if not f.damaged],
            },
            *[finding.reason for finding in found if not finding.damaged],
            *[f"damaged: {finding.reason}" for finding in damaged],
            f"{len(seen)} entries read, {len(damaged)} problems",
        )
        if damaged:
            raise RunError(
                f"{len(damaged)} problems, named above; delete such a folder, and the next run makes it again"
            )


@app.command("gc")
def gc(
    storage: options.Storage = options.STORAGE,
    days: Annotated[
        float, typer.Option("--older-than", help="Days after which the unfinished and the unreferenced goes.", min=0)
    ] = DAYS,
    losing: Annotated[
        bool,
        typer.Option(
            "--drop-maps-of-losing-trials", help="Also maps and masks of trials not among the best of a study."
        ),
    ] = False,
    keep_best: Annotated[
        int, typer.Option("--keep-best", help="Trials per study that keep maps and masks then.", min=1)
    ] = KEEP_BEST,
    yes: Annotated[bool, typer.Option("--yes", help="Delete. Without it, only say what would go.")] = False,
    as_json: options.Json = False,
) -> None:
    """Say what nobody needs any more, and with --yes delete it. What a recorded run needs never goes."""
    with output(as_json) as out:
        store = Store(storage)
        verdicts = judge(store, days=days, keep_best=keep_best if losing else None)
        going = [verdict for verdict in verdicts if verdict.goes]
        left: list[Verdict] = []
        if yes:
            going, left = carry_out(store, going)
        now = time.time()
        table = Table("kind", "key", "made by", "size", "age", "because", "belongs to")
        for verdict in going:
            entry = verdict.entry
            row = (f"{entry.kind} {entry.state}", entry.key[:12], _maker(entry), size_words(entry.size))
            table.add_row(*row, _age(now - entry.changed), verdict.reason, _few(verdict.owners))
        freed = sum(verdict.entry.size for verdict in going)
        remade = [verdict for verdict in going if verdict.owners and verdict.entry.state == "finished"]
        document = {
            "deleted": yes,
            "bytes": freed,
            "entries": [_plain(verdict, now) for verdict in going],
            "in use": [verdict.entry.name for verdict in left],
        }
        words = [f"{'deleted' if yes else 'would delete'} {len(going)} of {len(verdicts)}, {size_words(freed)}"]
        if remade:
            words.append(f"{len(remade)} of them belong to runs, whose weights stay: `masks RUN` makes them again")
        words += [f"in use by now, kept: {verdict.entry.name}" for verdict in left]
        out.result(document, *([table] if going else []), *words)
        if going and not yes:
            note("nothing was deleted; --yes does it")


Remote = Annotated[
    str,
    typer.Option(
        "--remote",
        help="Where the copies lie: s3://bucket/folder, gs://..., file:///... or a folder.",
        metavar="URL",
        envvar="WSSS_REMOTE",
    ),
]


@app.command("push")
def push(
    run: options.RunName, remote: Remote, storage: options.Storage = options.STORAGE, as_json: options.Json = False
) -> None:
    """Copy a run and what the store has of it to another place, and read it back."""
    _copy(run, remote, storage, as_json, away=True)


@app.command("pull")
def pull(
    run: options.RunName, remote: Remote, storage: options.Storage = options.STORAGE, as_json: options.Json = False
) -> None:
    """Copy a run from another place into the store, every file checked by its sha256."""
    _copy(run, remote, storage, as_json, away=False)


def _copy(run: str, remote: str, storage: Path, as_json: bool, *, away: bool) -> None:
    from wsss_platform.upkeep.mirror import Mirror

    with output(as_json) as out:
        mirror, store = Mirror(remote), Store(storage)
        with console.status(f"{'to' if away else 'from'} {mirror.url}"):
            copied = mirror.push(store, run) if away else mirror.pull(store, run)
        words = [f"run {run}: {copied.files} files, {size_words(copied.size)}, {'to' if away else 'from'} {mirror.url}"]
        words += [f"{stage}: there already" for stage in copied.there]
        where = "in the store" if away else "at the mirror"
        words += [f"{stage}: not {where} (not made, or dropped)" for stage in copied.lacking]
        out.result(asdict(copied), *words)


def size_words(size: int) -> str:
    """Bytes for a person, such as "3.2 MB"."""
    value, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def _age(seconds: float) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _maker(entry: Entry) -> str:
    return " ".join(str(entry.manifest[name]) for name in ("method", "stage") if entry.manifest.get(name)) or "-"


def _few(owners: Sequence[str]) -> str:
    more = f" and {len(owners) - 2} more" if len(owners) > 2 else ""
    return ", ".join(owners[:2]) + more or "-"


def _plain(verdict: Verdict, now: float) -> dict[str, Any]:
    entry = verdict.entry
    return {
        "kind": entry.kind,
        "key": entry.key,
        "state": entry.state,
        "method": entry.manifest.get("method"),
        "stage": entry.manifest.get("stage"),
        "list": entry.manifest.get("list"),
        "bytes": entry.size,
        "age_seconds": round(now - entry.changed, 1),
        "referred_by": list(verdict.owners),
        "goes": verdict.goes,
        "reason": verdict.reason,
    }
