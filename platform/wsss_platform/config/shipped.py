"""Files that come with the platform and are no code: search spaces, recipes, scripts for clusters.

In a checkout their folders are at its top, in an installed wheel inside the package (pyproject.toml, `force-include`).
"""

from __future__ import annotations

from pathlib import Path

from wsss_platform.errors import RunError, unknown

_PACKAGE = Path(__file__).parents[1]


def shipped(folder: str) -> Path:
    """The path of a folder of shipped files, such as "search_spaces".

    Raises:
        RunError: the installation lacks it.
    """
    places = (_PACKAGE / folder, _PACKAGE.parents[1] / folder)
    for place in places:
        if place.is_dir():
            return place
    raise RunError(f"this installation lacks its folder {folder!r}; expected {' or '.join(map(str, places))}")


def shipped_names(folder: str, suffix: str) -> list[str]:
    """The names of a folder's files with this suffix, without it: "fbr", or "sample/cam" inside another folder."""
    top = shipped(folder)
    return sorted(path.relative_to(top).as_posix().removesuffix(suffix) for path in top.rglob(f"*{suffix}"))


def shipped_file(folder: str, name: str, suffix: str) -> Path:
    """The path of a shipped file, such as ("search_spaces", "fbr", ".toml").

    Raises:
        InputError: there is none of this name; the message names the nearest one.
    """
    names = shipped_names(folder, suffix)
    if name not in names:
        raise unknown(folder.replace("_", " ").removesuffix("s"), name, names)
    return shipped(folder) / f"{name}{suffix}"
