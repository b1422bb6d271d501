"""The command line in this process, which saves the seconds of its imports."""

from __future__ import annotations

import io
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from functools import partial

import pytest
import torch

import the_command
from the_command import SETTINGS, checked
from wsss_platform.cli import run_command


def command(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    out, err, threads = io.StringIO(), io.StringIO(), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        got = run_command(list(arguments))
    torch.set_num_threads(threads)
    return checked(subprocess.CompletedProcess(arguments, got, out.getvalue(), err.getvalue()), code)


document = partial(the_command.document, by=command)
"""The one JSON document on standard output, which is what its schema says."""
