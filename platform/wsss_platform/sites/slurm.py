"""Of kind slurm: plain sbatch, squeue, sacct, scontrol and scancel, here or over ssh on a login node.

Not submitit: it pickles a Python function, which then runs with whatever code the node has. Sent here is a command line
whose code is frozen, as files that a person can read, and submit again by hand:

    STORAGE/submissions/ID/
        code.tar.gz, code/, files/      frozen code, and files that the command names
        job.sbatch                      what sbatch gets
        ray.sbatch                      Ray on the job's nodes (cluster/slurm)
        output.log                      of all starts of the job
        cancelled                       `cancel` was called
        exit-code                       of a job that ended, for a Slurm that has no accounting
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable, Iterator

from wsss_platform.config.shipped import shipped
from wsss_platform.errors import InputError, RunError
from wsss_platform.sites.job import ARCHIVE, Job
from wsss_platform.sites.ledger import Sent, State, Status
from wsss_platform.sites.shell import Shell
from wsss_platform.sites.slurm_checks import check, is_there, look, refusal, sbatch
from wsss_platform.sites.slurm_script import CANCELLED, EXIT_CODE, LOCK, OUTPUT, RAY, script

__all__ = ["cancel", "check", "commands", "files", "logs", "look", "status", "submit"]

SCRIPT = "job.sbatch"
STATES: dict[State, tuple[str, ...]] = {
    "queued": ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
    "running": ("RUNNING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"),
    "finished": ("COMPLETED",),
    "cancelled": ("CANCELLED", "REVOKED"),
}
"""Slurm's words for them; all others (FAILED, TIMEOUT, NODE_FAIL, OUT_OF_MEMORY, PREEMPTED, ...) are "failed"."""
ENDED: tuple[State, ...] = ("finished", "failed", "cancelled")
SILENT = 3
"""`logs` stops waiting for the end of a job of which nothing is known so many times in a row."""


def files(job: Job) -> dict[str, str]:
    """Path on the site -> text, the code's archive left out.

    Raises:
        InputError: one of slurm.options belongs to another setting, or the time limit is too short to be asked to end.
    """
    return {
        f"{job.folder}/{SCRIPT}": script(job),
        f"{job.folder}/{RAY}": (shipped("cluster") / "slurm" / RAY).read_text(encoding="utf-8"),
    }


def commands(job: Job) -> list[str]:
    """What is run once the files are written, as a person reads it."""
    shell = Shell(job.site.slurm.login)
    last = ("sbatch", "--parsable", f"{job.folder}/{SCRIPT}")
    return [shlex.join(shell.words(words)) for words in (*_preparations(job), last)]


def submit(job: Job) -> str:
    """Send it; Slurm's number for it. Of a job that is not taken nothing stays on the site.

    Raises:
        InputError: Slurm refuses it, with the reason; or the login node cannot be reached.
        RunError: no controller answers, or a file cannot be written.
    """
    shell, texts = Shell(job.site.slurm.login), files(job)
    try:
        shell.write(f"{job.folder}/{ARCHIVE}", job.archive())
        for path, text in texts.items():
            shell.write(path, text.encode())
        for words in _preparations(job):
            shell.run(*words)
    except RunError:
        _remove(shell, job)
        raise
    try:
        said = sbatch(shell, "--parsable", f"{job.folder}/{SCRIPT}")
    except InputError as error:
        if not job.site.slurm.login:  # no sbatch here
            raise
        raise RunError(f"{error}; the job may be in the queue all the same") from None  # ssh ended before it answered
    except RunError as error:
        if not re.search("timed out|no answer", str(error)):  # else it may be in the queue all the same
            _remove(shell, job)
        raise refusal(error, job.site) from None
    number = re.search(r"^\d+(?=;|$)", said, re.MULTILINE)
    if number is None:
        raise RunError(f"sbatch: expected the number of a job, got {said.strip()!r}")
    return number[0]


def status(sent: Sent) -> Status:
    """How it does: what the controller says, else the accounting, else what the job wrote at its end."""
    shell = Shell(sent.site.slurm.login)
    # By the name, too: a new controller counts from 1 again. Without a number `submit` was interrupted.
    number = [f"--jobs={sent.handle}"] if sent.handle.isdigit() else []
    which = (*number, f"--name={sent.id}", "--noheader")
    questions = (
        ("squeue", *which, "--states=all", "--format=%T|%r"),
        ("sacct", *which, "--allocations", "--parsable2", "--format=State,ExitCode"),
    )
    for question in questions:
        with contextlib.suppress(InputError, RunError):
            word, _, more = shell.run(*question).strip().partition("\n")[0].partition("|")
            if word:
                said = word if more in ("", "None", "0:0") else f"{word} ({more})"
                return Status(id=sent.id, state=_state(word), said=said)
    return _last_words(shell, sent)


def logs(sent: Sent, follow: bool) -> Iterator[str]:
    """Lines of its output, of all its starts, each with its line end; with `follow` until it ends."""
    shell, path = Shell(sent.site.slurm.login), f"{sent.folder}/{OUTPUT}"
    whole, part = 0, ""
    if follow:
        quietly = 'exec tail -n +1 -F -- "$1" 2>/dev/null'  # else it says that there is no file yet
        for line in shell.follow("bash", "-c", quietly, "tail", path, ended=_end_of(sent)):
            whole, part = (whole + 1, "") if line.endswith("\n") else (whole, line)
            yield line
    if is_there(shell, "-e", path):  # opened anew: a file system of several nodes shows the end of a file late
        left = shell.run("tail", "-n", f"+{whole + 1}", "--", path)
        yield from left.removeprefix(part).splitlines(keepends=True)


def cancel(sent: Sent) -> None:
    """End it; nothing happens where it has ended."""
    if status(sent).state in ENDED:
        return
    shell = Shell(sent.site.slurm.login)
    shell.write(f"{sent.folder}/{CANCELLED}", b"")  # first: one that is just interrupted does not requeue itself
    shell.run("scancel", f"--name={sent.id}", *([sent.handle] if sent.handle.isdigit() else []))


def _preparations(job: Job) -> Iterator[tuple[str, ...]]:
    """Commands between the files and sbatch."""
    yield ("tar", "--extract", "--gzip", f"--file={job.folder}/{ARCHIVE}", f"--directory={job.folder}")
    if job.site.environment.lock is not None:
        yield ("cp", "--", job.site.environment.lock, f"{job.folder}/{LOCK}")


def _remove(shell: Shell, job: Job) -> None:
    with contextlib.suppress(InputError, RunError):
        shell.run("rm", "-rf", "--", job.folder)


def _state(word: str) -> State:
    """Of Slurm's word, which may go on: "CANCELLED by 1000"."""
    return next((state for state, words in STATES.items() if word.split()[0] in words), "failed")


def _last_words(shell: Shell, sent: Sent) -> Status:
    """Of a job that Slurm has forgotten, or that it cannot be asked for."""
    there = 'cd -- "$1" 2>/dev/null || exit 0; shift; for name; do [[ ! -e $name ]] || echo "$name $(<"$name")"; done'
    words = shell.run("bash", "-c", there, "last", sent.folder, EXIT_CODE, CANCELLED).split()
    code = words[1] if EXIT_CODE in words[:1] and len(words) > 1 else None
    state: State = "unknown" if code is None else "finished" if code == "0" else "failed"
    if state != "finished" and (CANCELLED in words or code == "143"):
        state = "cancelled"
    said = "it wrote no exit code" if code is None else f"its exit code was {code}"
    return Status(id=sent.id, state=state, said=f"Slurm does not know job {sent.handle} (any more); {said}")


def _end_of(sent: Sent) -> Callable[[], bool]:
    """Whether it has ended."""
    silent = 0

    def ended() -> bool:
        nonlocal silent
        state: State = "unknown"
        with contextlib.suppress(InputError, RunError):  # the login node may be away for a while
            state = status(sent).state
        silent = silent + 1 if state == "unknown" else 0
        return state in ENDED or silent >= SILENT

    return ended
