"""What stands below each help text (an example, the exit codes), and the last line of a failure: what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import typer

from wsss_platform.errors import InputError, RunError

NAME = "wsss-platform"
EXAMPLES: Mapping[str, str] = {
    "": "train cam --until score",
    "methods": "methods fbr",
    "data": "data check --data VOCdevkit/VOC2012",
    "data splits": "data splits --data VOCdevkit/VOC2012",
    "data check": "data check --data VOCdevkit/VOC2012",
    "data convert-labels": "data convert-labels cls_labels.npy labels.json",
    "data write-sample": "data write-sample sample-tree",
    "data convert-coco": "data convert-coco COCO coco-tree --year 2014",
    "store": "store list",
    "store list": "store list --storage wsss-storage",
    "store verify": "store verify --full",
    "store gc": "store gc --older-than 7",
    "store push": "store push first --remote s3://bucket/folder",
    "store pull": "store pull first --remote s3://bucket/folder",
    "import-weights": "import-weights rtc.pth --as rtc --out rtc.pt",
    "import-maps": "import-maps cam_npy --name theirs --until score",
    "import-masks": "import-masks their_masks --name theirs --until score",
    "train": "train fbr --until score --set loss.negative_regions=0.1",
    "maps": "maps first --score-split val",
    "masks": "masks first --set masks.crf=irn --out pseudo_masks",
    "score": "score first --score-split val",
    "tune": "tune fbr --trials 20 --selection held-out:8",
    "search": "search first --trials 30 --images 100 --confirm 50",
    "compare": "compare cam fbr --seeds 3",
    "leaderboard": "leaderboard --markdown",
    "show": "show first --count 8",
    "doctor": "doctor --json",
    "submit": "submit --on mycluster -- tune fbr --trials 64",
    "submit send": "submit send --on mycluster -- train fbr",
    "submit list": "submit list",
    "submit status": "submit status mycluster-1130-0219-3fa2",
    "submit logs": "submit logs mycluster-1130-0219-3fa2 -f",
    "submit cancel": "submit cancel mycluster-1130-0219-3fa2",
    "submit fetch": "submit fetch mycluster-1130-0219-3fa2",
    "sites": "sites check mycluster.toml",
    "sites list": "sites list",
    "sites check": "sites check mycluster.toml",
}
"""Verb -> a call of it that fits into a line of 80 columns."""
EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "the run failed, or a check found damage",
    2: "wrong input, or data that is wrong",
    130: "interrupted",
}
"""What every verb exits with."""
_AFTER = {
    "data check": "Mend or remove these files, then run the same command again.",
    "doctor": "Install what is missing, then run the same command again.",
    "sites check": "Mend the site file or the site, then run the same command again.",
    "store verify": "Delete the folders named above; the next run makes them again.",
}
"""Verb whose failure is a finding -> what to do."""


def with_examples(app: typer.Typer, path: str = "") -> typer.Typer:
    """Put an example below the help of every command and every group of `app`; the exit codes below its own."""
    for command in app.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "")
        command.epilog = _example(f"{path} {name}".strip())
    for group in app.registered_groups:
        assert group.typer_instance is not None
        name = f"{path} {group.name}".strip()
        group.epilog = _example(name)
        with_examples(group.typer_instance, name)
    if not path:
        codes = "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())
        app.info.epilog = f"Exit codes: {codes}.\n\n{_example('')}"
    return app


def _example(path: str) -> str | None:
    """One line, which rich keeps whole at 80 columns; None for a verb without one."""
    return f"Example: {NAME} {EXAMPLES[path]}" if path in EXAMPLES else None


def verb_in(arguments: Sequence[str]) -> str:
    """The verb that was typed, such as "tune" or "store gc"; "" where there is none."""
    words = list(_words(arguments))
    return next((name for name in (" ".join(words[:2]), *words[:1]) if name in EXAMPLES), "")


def _words(arguments: Sequence[str]) -> Iterator[str]:
    for argument in arguments:
        if argument.startswith("-"):
            return
        yield argument


def advice(error: BaseException | None, verb: str) -> str:
    """What to do after a failure, in one line.

    Args:
        error: None for wrong usage.
        verb: that failed, such as "store gc".
    """
    help_of = f"`{NAME} {verb} --help`".replace("  ", " ")
    if error is None:
        return f"Nothing was started. See {help_of}."
    if verb in _AFTER and isinstance(error, InputError | RunError) and vars(error).get("printed"):
        return _AFTER[verb]
    if isinstance(error, InputError):
        return f"Correct this and run the command again. See {help_of}."
    if isinstance(error, RunError):
        return f"The same command continues after the last finished stage. `{NAME} doctor` checks this machine."
    return f"Report this with `{NAME} doctor --json`; WSSS_TRACEBACK=1 before the command prints the traceback."
