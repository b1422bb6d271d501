"""The site of a name or path: `cluster/sites/` of the platform and `~/.config/wsss-platform/sites/`."""

from __future__ import annotations

import os
from pathlib import Path

from wsss_platform.config import read_toml
from wsss_platform.config.shipped import shipped
from wsss_platform.errors import InputError, unknown
from wsss_platform.sites.site import Site, read_site


def own_folder() -> Path:
    """Where a person keeps site files."""
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "wsss-platform" / "sites"


def known_sites() -> dict[str, Path]:
    """Name -> file; a person's own goes before a shipped one of that name."""
    found: dict[str, Path] = {}
    for folder in (shipped("cluster") / "sites", own_folder()):
        if folder.is_dir():
            found.update({path.stem: path for path in sorted(folder.glob("*.toml"))})
    return found


def find_site(given: str) -> tuple[str, Path, Site]:
    """(name, file, site) of a name, or of the path of a TOML file.

    Raises:
        InputError: no such site (with the nearest name), or a file that is wrong.
    """
    path = Path(given).expanduser()
    if "/" not in given and path.suffix != ".toml":
        known = known_sites()
        if given not in known:
            error = unknown("site (--on)", given, known, "--on")
            raise error.in_context(f"{error} (sites lie in {own_folder()}; --on takes a TOML file, too)")
        path = known[given]
    elif not path.is_file():
        raise InputError(f"--on {given}: no such file; expected a site file (TOML)", field="--on")
    site = read_site(read_toml(path), str(path))
    if site.kind == "ray-up":  # a relative path is one beside the site file
        cluster = path.resolve().parent / Path(site.ray_up.cluster).expanduser()
        site = site.model_copy(update={"ray_up": site.ray_up.model_copy(update={"cluster": str(cluster)})})
    return path.stem, path.resolve(), site
