"""`show`: pictures of a scored run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsss_platform.cli import options
from wsss_platform.cli.output import output
from wsss_platform.store.artefacts import Store


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
    from wsss_platform.api.runs import load_run
    from wsss_platform.report.documents import Pictures, SeenTruth
    from wsss_platform.report.looks import looks, looks_at
    from wsss_platform.report.show import show_run

    with output(as_json) as out:
        store = Store(storage)
        experiment, name = load_run(store, run)
        target = folder or store.run_folder(name) / "pictures"
        written = show_run(experiment, store, target, count=count, ids=ids or None)
        scored = experiment.data.score_list
        seen = looks_at(looks(store), scored, experiment.truth_fingerprint(scored)[:12])
        document = Pictures(folder=str(target), files=tuple(map(str, written)), looks=SeenTruth.of(seen))
        out.result(document, f"{len(written)} pictures in {target}", seen.words)
