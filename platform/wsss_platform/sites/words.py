"""The words of a command that is sent, checked before anything is."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from wsss_platform.errors import InputError
from wsss_platform.run.scrub import scrub_command


def check_words(command: Sequence[str], here: Path) -> None:
    """Refuse words that cannot mean on the site what they mean here.

    Args:
        command: verb and arguments.
        here: the current folder.

    Raises:
        InputError: a storage folder, a secret, a folder of this machine, or a recipe file that is not here.
    """
    if any(word == "--storage" or word.startswith("--storage=") for word in command):
        raise InputError("--storage: the site names the storage folder; leave it out", field="--storage")
    if scrub_command(command) != shlex.join(command):
        raise InputError(
            "the command seems to hold a secret; name it in the site's [secrets], such as WSSS_STUDY_STORAGE in "
            "place of --study-storage",
            field="secrets",
        )
    for place, word in enumerate(command):
        flag, _, value = word.partition("=") if word.startswith("--") else (command[place - 1], "", word)
        if place == 0 or not value or value.startswith(("/", "-")):
            continue
        if flag in ("--data", "--root") and (here / value).is_dir():
            raise InputError(f"{flag} {value}: a folder of this machine; give the site's path", field=flag)
        if flag in ("--recipe", "--config") and value.endswith(".toml") and not (here / value).is_file():
            raise InputError(f"{flag} {value}: no such file here; give one, or a path of the site", field=flag)
