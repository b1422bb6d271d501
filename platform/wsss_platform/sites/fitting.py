"""Nodes, GPUs, workers and times, checked against each other before anything is sent. Plain arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss_platform.config import override, read_toml
from wsss_platform.config.shipped import shipped_file
from wsss_platform.errors import InputError
from wsss_platform.sites.site import Resources, Site

ONE_TRAINING = ("train", "compare")
"""Verbs whose training takes all that a job gets; a study packs its trials, each with its own workers."""
WITH_WORKERS = (*ONE_TRAINING, "tune")
"""Verbs that train."""


def with_typed(site: Site, typed: Mapping[str, Any]) -> Site:
    """The site with what was typed in place of its own.

    Args:
        site: the site.
        typed: dotted path, such as "resources.nodes" or "slurm.partition" -> value; None: not typed.

    Raises:
        InputError: an option that is not of this kind of site, or an illegal value.
    """
    changes = {path: value for path, value in typed.items() if value is not None}
    for path in changes:
        section, _, name = path.partition(".")
        if section == "slurm" and site.kind != "slurm":
            flag = "--" + name.replace("_", "-")
            raise InputError(f"{flag}: expected only with a site of kind slurm; this one is {site.kind}", field=flag)
    return override(site, changes, "submit")


def workers_of(resources: Resources) -> int:
    """How many workers a job has room for.

    Raises:
        InputError: none, or a part of a worker is left over on every node.
    """
    if not resources.gpus_per_node:
        return resources.nodes
    share, gpus, field = resources.gpus_per_worker, resources.gpus_per_node, "resources.gpus_per_worker"
    if share > gpus:
        raise InputError(f"gpus_per_worker {share:g}: a node has {gpus} GPUs; expected at most so many", field=field)
    if share >= 1 and share != int(share):
        raise InputError(f"gpus_per_worker {share:g}: expected a whole number, or a part of one GPU", field=field)
    if share >= 1 and gpus % int(share):
        raise InputError(f"gpus_per_worker {share:g}: {gpus} GPUs of a node are no multiple of it", field=field)
    each = gpus // int(share) if share >= 1 else gpus * int(1 / share + 1e-9)
    if each > resources.cpus_per_node:
        raise InputError(
            f"cpus_per_node {resources.cpus_per_node}: {each} workers of a node need a core each",
            field="resources.cpus_per_node",
        )
    return resources.nodes * each


def fitted(command: Sequence[str], resources: Resources) -> tuple[str, ...]:
    """The command with the workers that follow from what its job gets, unless it names them.

    Raises:
        InputError: the command asks for more workers or GPUs than the job gets, or it does not use the cluster.
    """
    verb = command[0]
    if verb not in WITH_WORKERS:
        workers_of(resources)
        return tuple(command)
    if "--local" in command:
        raise InputError("--local: one process without Ray, which needs no cluster; leave it out", field="--local")
    asked, share = _value(command, "--workers"), _value(command, "--gpus-per-worker")
    if share is not None and resources.gpus_per_node:
        number = _number("--gpus-per-worker", share)
        if number > resources.gpus_per_node:
            told = f"--gpus-per-worker {share}: a node of this job has {resources.gpus_per_node}"
            raise InputError(told, field="--gpus-per-worker")
        resources = override(resources, {"gpus_per_worker": number}, "submit")
    room, said = workers_of(resources), list(command)
    if asked is None and verb in ONE_TRAINING and room > 1 and not _recipe_names_workers(command):
        said += ["--workers", str(room)]
    most = room if resources.gpus_per_node else resources.nodes * resources.cpus_per_node
    if asked is not None and _number("--workers", asked) > most:
        raise InputError(
            f"--workers {asked}: a job of {resources.nodes} nodes has room for {most} (GPUs per node: "
            f"{resources.gpus_per_node}, GPUs per worker: {resources.gpus_per_worker:g}, cores per node: "
            f"{resources.cpus_per_node})",
            field="--workers",
        )
    if share is None and resources.gpus_per_node and resources.gpus_per_worker != 1:
        said += ["--gpus-per-worker", f"{resources.gpus_per_worker:g}"]
    return tuple(said)


def _recipe_names_workers(command: Sequence[str]) -> bool:
    """Whether the recipe of the command, a file here or a shipped one, says how many workers there are."""
    given = _value(command, "--recipe")
    if given is None:
        return False
    try:
        path = Path(given) if given.endswith(".toml") else shipped_file("recipes", given, ".toml")
        return "workers" in read_toml(path)
    except InputError:  # said where the command is checked, or a path of the site
        return False


def _value(command: Sequence[str], flag: str) -> str | None:
    """What is typed after a flag, in either form."""
    found = None
    for place, word in enumerate(command):
        if word == flag and place + 1 < len(command):
            found = command[place + 1]
        elif word.startswith(f"{flag}="):
            found = word.partition("=")[2]
    return found


def _number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{flag} {text}: expected a number", field=flag) from None
