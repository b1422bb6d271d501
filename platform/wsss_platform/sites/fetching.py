"""What a job has made, over ssh from a login node: pushed into its folder there, then sent as one tar."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from wsss_platform.errors import RunError
from wsss_platform.sites.job import PROGRAM
from wsss_platform.sites.ledger import Sent
from wsss_platform.sites.shell import Shell

SECONDS = 60 * 60
"""In which the login node must have packed a delivery."""


def copied_by_login(sent: Sent, folder: Path, everything: bool) -> None:
    """Fill `folder` with the delivery of a job, as `store push --submission` makes it on the login node.

    Raises:
        InputError: the login node cannot be reached.
        RunError: it has made nothing, or what came is no tar.
    """
    shell, outbox = Shell(sent.site.slurm.login, SECONDS), f"{sent.folder}/outbox"
    python = _python(sent, shell)
    more = ["--all"] if everything else []
    push = ["store", "push", "--submission", sent.id, "--remote", outbox, "--storage", sent.site.storage, *more]
    path = f"PYTHONPATH={sent.folder}/code/wsss-platform/platform:{sent.folder}/code/wsss-platform/methods"
    shell.run("rm", "-rf", "--", outbox)
    shell.run("env", path, python, *PROGRAM[1:], *push)
    done = subprocess.run(  # noqa: S603 (words, no shell here)
        shell.words(["tar", "-C", outbox, "-c", "."]), capture_output=True, check=False
    )
    try:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
            tar.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise RunError(f"{sent.site.slurm.login}: what came of {outbox} is no tar: {error}") from None
    shell.run("rm", "-rf", "--", outbox)


def _python(sent: Sent, shell: Shell) -> str:
    """The interpreter of the job's environment there."""
    environment = sent.site.environment
    if environment.venv:
        return f"{environment.venv}/bin/python"
    if environment.lock:  # as the job's script names it
        digest = shell.run("sha256sum", "--", f"{sent.folder}/requirements.lock")[:16]
        return f"{sent.site.storage}/environments/{digest}/bin/python"
    return PROGRAM[0]
