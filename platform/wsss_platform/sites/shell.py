"""Commands on this machine, or over ssh on a site's login node. Words, never a shell string of a user's text."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wsss_platform.errors import InputError, RunError

SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15")
"""Never asks for a password: a login without a key is an error that says so."""
SECONDS = 120


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
        script = 'set -eu; umask 077; mkdir -p -- "$1"; cat >"$2.part"; chmod "$3" "$2.part"; mv -- "$2.part" "$2"'
        self.run("bash", "-c", script, "write", folder, path, mode, content=content)

    def follow(self, *command: str) -> Iterator[str]:
        """Lines of standard output while the command runs; it is ended with this iterator."""
        with subprocess.Popen(  # noqa: S603 (words, no shell here)
            self.words(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
        ) as process:
            assert process.stdout is not None
            try:
                yield from process.stdout
            finally:
                process.terminate()
