"""What is sent to a site: a command, its frozen code, the files it names, and what it takes."""

from __future__ import annotations

import re
import secrets as random_names
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from wsss_platform.errors import InputError
from wsss_platform.sites.code import Code
from wsss_platform.sites.site import REFERENCE, Site

PROGRAM = ("python", "-m", "wsss_platform.cli")
"""Python's path decides whose code that is: the frozen one, else what is installed."""
LARGEST = 1024 * 1024
"""Bytes of a file on the command line that goes along."""
FILES = "files"
"""In a job's folder: files that the command names."""
CODE = "code"
"""In a job's folder: the unpacked archive."""
ARCHIVE = "code.tar.gz"
ENTRY = "run.sh"


@dataclass(frozen=True)
class Job:
    """One command for a site."""

    id: str
    """Such as "mycluster-1130-021955-3fa2": its site's name, when it was sent, and four random digits."""
    site_name: str
    site: Site
    """With what was typed in place of its own."""
    command: tuple[str, ...]
    """Verb and arguments, without the program."""
    code: Code
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Name -> content of files that the command names and that go along."""

    @property
    def folder(self) -> str:
        """On the site: below the storage folder, seen by all nodes."""
        return f"{self.site.storage}/submissions/{self.id}"

    @property
    def python_path(self) -> str:
        """What comes first on Python's path there; "" without frozen code."""
        return ":".join(f"{self.folder}/{CODE}/{path}" for path in self.code.python_path)

    @property
    def variables(self) -> dict[str, str]:
        """Of the job's environment; no secrets."""
        own = {"WSSS_STORAGE": self.site.storage, "WSSS_SUBMISSION": self.id, "RAY_USAGE_STATS_ENABLED": "0"}
        commit = {"WSSS_COMMIT": self.code.commit} if self.code.commit else {}
        path = {"PYTHONPATH": self.python_path} if self.python_path else {}
        return {**own, **commit, **path, **self.site.variables}

    def archive(self) -> bytes:
        """Code and files, as .tar.gz; unpacked it gives the folders `code` and `files`."""
        return self.code.archive({f"{FILES}/{name}": content for name, content in self.files.items()})

    def exports(self) -> list[str]:
        """Lines of a shell script: the variables, then each secret, read from its file where the job runs."""
        lines = [
            f"export {name}={shlex.quote(value)}" for name, value in self.variables.items() if name != "PYTHONPATH"
        ]
        if self.python_path:
            lines.append(f"export PYTHONPATH={shlex.quote(self.python_path)}${{PYTHONPATH:+:$PYTHONPATH}}")
        for name, where in self.site.secrets.items():
            found = REFERENCE.fullmatch(where)
            if found is not None and found["file"]:
                path = shlex.quote(found["file"])
                lines += [f'[[ -r {path} ]] || {{ echo "{name}: {found["file"]} cannot be read" >&2; exit 2; }}']
                lines += [f"{name}=$(<{path}); export {name}"]  # a builtin: no process list shows the value
        if self.site.environment.venv is not None:
            lines.append(f'export PATH={shlex.quote(self.site.environment.venv + "/bin")}:"$PATH"')
        return lines

    @property
    def delivery(self) -> tuple[str, ...]:
        """The words that push what the job has made to the site's remote; () without one."""
        if not self.site.remote:
            return ()
        return (*PROGRAM, "store", "push", "--submission", self.id, "--remote", self.site.remote)

    def entry(self) -> str:
        """The shell script that runs the command, once the archive is unpacked beside it."""
        lines = ["#!/bin/bash", "set -euo pipefail", f"cd {shlex.quote(self.folder)}", *self.exports()]
        run = shlex.join([*PROGRAM, *self.command])
        if self.delivery:
            lines += [_DELIVERING.format(run=run, push=shlex.join(self.delivery)).strip()]
        else:
            lines += [f"exec {run}"]
        return "\n".join([*lines, ""])


_DELIVERING = """
code=0
(trap - INT; exec {run}) & # in the background bash would let it ignore that it is asked to end
child=$!
trap 'kill -INT "$child" 2>/dev/null || true' TERM INT
wait "$child" || code=$?
while kill -0 "$child" 2>/dev/null; do # a signal ended the first wait
    code=0
    wait "$child" || code=$?
done
{push} || echo "what the job has made could not be pushed to the remote" >&2
exit "$code"
"""


def new_id(site: str) -> str:
    """An id for a job that is sent now; also a legal name of a folder, a Slurm job and a Kubernetes object."""
    plain = re.sub(r"[^a-z0-9]+", "-", site.lower()).strip("-")[:20] or "site"
    plain = plain if plain[0].isalpha() else f"site-{plain}"  # a RayJob's name begins with a letter
    return f"{plain}-{datetime.now(UTC):%m%d-%H%M%S}-{random_names.token_hex(2)}"


def with_files(command: tuple[str, ...], here: Path, folder: str) -> tuple[tuple[str, ...], dict[str, bytes]]:
    """The command with each relative path of a file here replaced by its copy in the job's folder, and the files.

    An absolute path is one of the site. `--flag=FILE` counts, too.

    Raises:
        InputError: a file that is too large, two of one name, or a path that leads outside of the current folder.
    """
    files: dict[str, bytes] = {}
    said = []
    for word in command:
        flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        path = here / value
        is_path = "/" in value or "." in value  # `train` or `fbr` is a word also beside a file of that name
        if not is_path or value.startswith(("/", "-")) or not path.is_file():
            said.append(word)
            continue
        if not path.resolve().is_relative_to(here.resolve()):
            raise InputError(f"{value}: leads out of {here}; give a file below it, or a path of the site", field=value)
        if path.stat().st_size > LARGEST:
            raise InputError(f"{value}: larger than {LARGEST // 1024} KiB; put it on the site first", field=value)
        if path.name in files and files[path.name] != path.read_bytes():
            raise InputError(f"{value}: two files of the name {path.name} would be sent", field=value)
        files[path.name] = path.read_bytes()
        said.append(f"{flag}{equals}{folder}/{FILES}/{path.name}")
    return tuple(said), files
