"""Commands on this machine, or over ssh on a site's login node. Words, never a shell string of a user's text."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Thread

from wsss_platform.errors import InputError, RunError

SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15")
"""Never asks for a password: a login without a key is an error that says so."""
SECONDS = 120
ASK_EVERY = 10.0
"""Seconds between two questions whether what is followed has ended."""


@dataclass(frozen=True)
class Shell:
    """Where commands run."""

    login: str = ""
    """user@host; "": here."""
    seconds: float = SECONDS
    """A command of `run` may take so long."""

    def words(self, command: Sequence[str]) -> list[str]:
        """What is executed; over ssh as one quoted text, as the far shell reads one."""
        return [*SSH, self.login, "--", shlex.join(command)] if self.login else list(command)

    def run(self, *command: str, content: bytes | None = None) -> str:
        """Standard output of a command.

        Raises:
            InputError: the program is not installed, or the login node cannot be reached.
            RunError: the command failed; the message has its own last line.
        """
        try:
            done = subprocess.run(  # noqa: S603 (words, no shell here)
                self.words(command), input=content or b"", capture_output=True, timeout=self.seconds, check=False
            )
        except FileNotFoundError:
            raise InputError(f"{self.words(command)[0]}: not installed on this machine") from None
        except subprocess.TimeoutExpired:
            raise RunError(f"{command[0]}: no answer within {self.seconds:g} s") from None
        said = done.stderr.decode("utf-8", "replace").strip()
        if self.login and done.returncode == 255:
            raise InputError(f"ssh {self.login}: {said or 'cannot connect'}", field="slurm.login")
        if done.returncode:
            last = (said or done.stdout.decode("utf-8", "replace").strip() or "no message").splitlines()[-1]
            raise RunError(f"{command[0]}: {last} (exit code {done.returncode})")
        return done.stdout.decode("utf-8", "replace")

    def write(self, path: str, content: bytes, mode: str = "600") -> None:
        """A file, whole or not at all; its folder is made."""
        folder = path.rsplit("/", 1)[0]
        script = (  # the job's folder is the user's own, the one around it everybody's
            'set -eu; mkdir -p -- "${1%/*}"; umask 077; mkdir -p -- "$1"; '
            'cat >"$2.part"; chmod "$3" "$2.part"; mv -- "$2.part" "$2"'
        )
        self.run("bash", "-c", script, "write", folder, path, mode, content=content)

    def follow(self, *command: str, ended: Callable[[], bool] | None = None) -> Iterator[str]:
        """Lines of standard output while the command runs; it is ended with this iterator, or once `ended` says so."""
        with subprocess.Popen(  # noqa: S603 (words, no shell here)
            self.words(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
        ) as process:
            assert process.stdout is not None
            if ended is not None:
                Thread(target=_end_with, args=(process, ended), daemon=True).start()
            try:
                yield from process.stdout
            finally:
                process.terminate()


def _end_with(process: subprocess.Popen[str], ended: Callable[[], bool]) -> None:
    """End a process that would wait for more lines for ever."""
    while process.poll() is None:
        if ended():
            process.terminate()
            return
        time.sleep(ASK_EVERY)
