"""`wsss-platform store`: what lies in the storage folder, whether it is whole, what may go, and copies elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

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
    from wsss_platform.report.tables.store import list_result
    from wsss_platform.upkeep.documents import StoreEntry, StoreList

    with output(as_json) as out:
        verdicts = [verdict for verdict in judge(Store(storage)) if verdict.entry.state != "lock"]
        now = time.time()
        entries = tuple(StoreEntry.of(verdict, now) for verdict in verdicts)
        document = StoreList(storage=str(Store(storage).root), entries=entries)
        out.result(document, *list_result(document))


@app.command("verify")
def verify_(
    storage: options.Storage = options.STORAGE,
    full: Annotated[bool, typer.Option("--full", help="Decode every mask, not 32 of each artefact.")] = False,
    as_json: options.Json = False,
) -> None:
    """Read every artefact as a run would and name what is damaged. Exits with 1 when there is any."""
    from wsss_platform.report.tables.store import verification_lines
    from wsss_platform.upkeep.documents import StoreVerification
    from wsss_platform.upkeep.verification import verify

    with output(as_json) as out:
        with console.status("reading") as status:
            seen: list[Entry] = []

            def show(entry: Entry) -> None:
                seen.append(entry)
                status.update(f"reading {entry.name}")

            found = verify(Store(storage), full=full, on_entry=show)
        document = StoreVerification.of(len(seen), found)
        out.result(document, *verification_lines(document))
        if damaged := document.damaged:
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
    from wsss_platform.report.tables.store import clearance_result
    from wsss_platform.upkeep.documents import StoreClearance, StoreEntry

    with output(as_json) as out:
        store = Store(storage)
        verdicts = judge(store, days=days, keep_best=keep_best if losing else None)
        going = [verdict for verdict in verdicts if verdict.goes]
        left: list[Verdict] = []
        if yes:
            going, left = carry_out(store, going)
        now = time.time()
        document = StoreClearance(
            deleted=yes,
            looked_at=len(verdicts),
            bytes=sum(verdict.entry.size for verdict in going),
            entries=tuple(StoreEntry.of(verdict, now) for verdict in going),
            in_use=tuple(verdict.entry.name for verdict in left),
        )
        out.result(document, *clearance_result(document))
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
    from wsss_platform.report.tables.store import copy_lines
    from wsss_platform.upkeep.documents import Copy
    from wsss_platform.upkeep.mirror import Mirror

    with output(as_json) as out:
        mirror, store = Mirror(remote), Store(storage)
        with console.status(f"{'to' if away else 'from'} {mirror.url}"):
            copied = mirror.push(store, run) if away else mirror.pull(store, run)
        document = Copy.of(copied, mirror.url, away=away)
        out.result(document, *copy_lines(document))
