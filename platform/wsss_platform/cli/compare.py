"""`score RUN --against OTHER`: two runs on the same pictures, with a paired bootstrap interval."""

from __future__ import annotations

from dataclasses import asdict

from wsss_platform.cli.output import Output
from wsss_platform.cli.run import load_run
from wsss_platform.errors import InputError
from wsss_platform.scores.score import At, Score, paired_bootstrap
from wsss_platform.store.artefacts import Store


def compare(out: Output, store: Store, first: str, second: str) -> None:
    """Print the difference of two scored runs.

    Raises:
        InputError: a run without a score, or runs scored on different pictures.
    """
    from rich.table import Table

    scores = []
    for run in (first, second):
        experiment, name = load_run(store, run)
        stage = experiment.stage("score")
        if not store.finished("score", stage.key):
            raise InputError(f"run {name!r} has no score yet; first: wsss-platform score {name}")
        scores.append(Score.read(store.open("score", stage.key).folder))
    table = Table("background", first, second, "difference", "95 % interval", f"p({first} better)")
    document: dict[str, object] = {"first": first, "second": second}
    kinds: tuple[tuple[At, str], ...] = (("masks", "masks as made"), ("best", "best of each sweep (oracle)"))
    for at, words in kinds:
        found = paired_bootstrap(scores[0], scores[1], at)
        document[at] = asdict(found)
        table.add_row(
            words,
            f"{100 * found.a.value:.2f}",
            f"{100 * found.b.value:.2f}",
            f"{100 * found.difference.value:+.2f}",
            f"{100 * found.difference.low:+.2f} .. {100 * found.difference.high:+.2f}",
            f"{found.a_wins:.3f}",
        )
    out.result(document, table, "The interval is over pictures; it does not cover the spread between seeds.")
