"""--quiet prints results and errors alone; NO_COLOR and pipes get no escape codes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from in_process import command

from the_command import TINY
from wsss_platform.cli.options_page import VERBS
from wsss_platform.config.options import leaves_of
from wsss_platform.report.progress import console, note, quiet

ESCAPE = "\x1b"
RUN = "import sys; from wsss_platform.cli import main; main(sys.argv[1:])"


def test_every_verb_has_it() -> None:
    for name, options in VERBS.items():
        assert "--quiet" in {leaf.flag for leaf in leaves_of(options)}, name


def test_a_quiet_run_prints_its_result_alone(tmp_path: Path) -> None:
    asked = ("train", "cam", *TINY, "--local", "--until", "maps", "--wandb", "disabled", "--storage", str(tmp_path))
    loud = command(*asked)
    assert "cached" in loud.stderr or "epoch" in loud.stderr
    hushed = command(*asked, "--quiet")
    assert hushed.stderr == ""
    assert hushed.stdout == loud.stdout
    assert "next: wsss-platform masks" in hushed.stdout


def test_a_quiet_failure_says_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    done = command("train", "cam", "--quiet", "--set", "train.epochs=0", "--storage", str(tmp_path), code=2)
    assert "error: " in done.stderr
    assert "train.epochs" in done.stderr
    assert done.stderr.rstrip().endswith("See `wsss-platform train --help`.")


def test_quiet_ends_with_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), quiet():
        note("hidden")
        raise KeyError
    with quiet(), quiet(False):
        note("hidden, too")
    note("shown")
    assert not console.quiet
    assert "hidden" not in (said := capsys.readouterr().err)
    assert "shown" in said


def in_a_terminal(*arguments: str, **environment: str) -> str:
    """What a command writes to a terminal, both streams."""
    ours, theirs = pty.openpty()
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")
    }
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**inherited, "TERM": "xterm-256color", **environment},
    )
    os.close(theirs)
    found = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux: the other end is closed
            break
        if not part:
            break
        found += part
    os.close(ours)
    process.wait(timeout=300)
    return found.decode()


@pytest.mark.parametrize("arguments", [("methods",), ("train", "fbrr"), ("store", "--nosuch"), ("tune", "--help")])
def test_no_color_in_a_terminal(arguments: tuple[str, ...]) -> None:
    plain = in_a_terminal(*arguments, NO_COLOR="1")
    assert plain.strip()
    assert ESCAPE not in plain


def test_a_terminal_has_escape_codes_otherwise() -> None:
    assert ESCAPE in in_a_terminal("train", "fbrr")


@pytest.mark.parametrize("arguments", [("methods",), ("train", "fbrr"), ("tune", "--help")])
def test_pipes_get_no_escape_codes(arguments: tuple[str, ...]) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "GITHUB_ACTIONS")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        capture_output=True,
        text=True,
        env={**inherited, "TERM": "xterm-256color"},
        timeout=300,
        check=False,
    )
    assert done.stdout + done.stderr
    assert ESCAPE not in done.stdout + done.stderr
