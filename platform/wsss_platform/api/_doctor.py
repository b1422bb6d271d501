"""What this machine has, and what is missing for what. Quick, without the network, and never an error."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from wsss_platform import __version__

if TYPE_CHECKING:
    from wsss_platform.report.documents import Doctor, DoctorItem

TESTED = "3.11"
"""The Python that the tests have run on."""
LITTLE = 1024**3
"""Bytes of disk below which a warning is due: a study of photographs soon fills them."""
NVIDIA = Path("/proc/driver/nvidia/version")
"""There where a driver is loaded, whatever torch sees."""
DATABASES = ("sqlite", "postgresql")
DENSE_CRF = ("pydensecrf2", "pydensecrf")
"""Distributions that bring the package."""

State = Literal["ok", "missing", "warning"]


class Finding(NamedTuple):
    """What a check found."""

    found: str
    meaning: str = ""
    state: State = "ok"


@dataclass(frozen=True)
class Check:
    """How to find out about one thing."""

    name: str
    at: Callable[[], Finding]
    needed: bool = False


def doctor(storage: str | Path | None = None) -> Doctor:
    """Say what this machine has and what is missing for what. Starts no cluster and asks no service.

    Args:
        storage: the storage folder; it is not made. Default: WSSS_STORAGE, else wsss-storage.
    """
    from wsss_platform.report.documents import Doctor

    return Doctor.of(_item(check) for check in _checks(storage))


def _checks(storage: str | Path | None) -> Iterator[Check]:
    """In the order of the document."""
    yield Check("python", _python, needed=True)
    yield Check("wsss-platform", _platform, needed=True)
    yield Check("packages", _packages, needed=True)
    yield Check("torch", _torch, needed=True)
    yield Check("gpu", _gpu)
    yield Check("cpu", _cpu)
    yield Check("memory", _memory)
    yield Check("shared memory", _shared_memory)
    yield Check("storage", partial(_storage, storage), needed=True)
    yield Check("ray", _ray, needed=True)
    yield Check("optuna", _optuna, needed=True)
    yield Check("wandb", _wandb, needed=True)
    yield Check("dense crf", _dense_crf, needed=True)
    yield Check("scipy", partial(_extra, "scipy", "search", "tune --sampler gp, and a study's contour figure"))
    yield Check("cmaes", partial(_extra, "cmaes", "search", "tune --sampler cmaes"))
    yield Check("pycocotools", partial(_package, "pycocotools.mask", "pycocotools", meaning="reads COCO"))
    yield Check("psycopg", _psycopg, needed=_database() == "postgresql")
    yield Check("WSSS_STORAGE", _storage_variable)
    yield Check("WSSS_WANDB", _wandb_variable)
    yield Check("WSSS_STUDY_STORAGE", _study_storage_variable)
    yield Check("RAY_ADDRESS", _address_variable)
    yield Check("OMP_NUM_THREADS", _threads_variable)


def _item(check: Check) -> DoctorItem:
    """What was found, without secrets; a check that fails is a warning."""
    from wsss_platform.report.documents import DoctorItem
    from wsss_platform.run.scrub import scrub

    try:
        finding = check.at()
    except Exception as error:  # noqa: BLE001  # whatever a machine answers, the other items are wanted, too
        finding = Finding(f"could not be checked: {_short(error)}", "whether it works is not known", "warning")
    found, meaning, state = finding
    return DoctorItem(name=check.name, state=state, needed=check.needed, found=scrub(found), meaning=scrub(meaning))


# --- Python and its packages ----------------------------------------------------------------------------


def _python() -> Finding:
    version = platform.python_version()
    meaning = "" if version.startswith(f"{TESTED}.") else f"the tests have run on {TESTED} only"
    return Finding(f"{version} on {platform.system()} {platform.machine()}", meaning)


def _platform() -> Finding:
    return Finding(f"{__version__} in {Path(__file__).parents[1]}")


def _packages() -> Finding:
    """All that the platform is installed with, by name; whether a package can be imported is asked of some below."""
    wanted = _requirements()
    missing = [said for name, said in wanted.items() if _version(name) is None]
    if missing:
        return Finding(f"not installed: {', '.join(missing)}", _pip(*missing), "missing")
    if not wanted:
        return Finding("not installed as a package", "pip install wsss-platform brings what it needs", "warning")
    return Finding(f"all {len(wanted)} that wsss-platform asks for")


def _requirements() -> dict[str, str]:
    """Distribution -> what the platform asks for, such as "torch>=2.15,<3"; without extras. Empty if not installed."""
    try:
        lines = metadata.requires("wsss-platform") or []
    except metadata.PackageNotFoundError:
        return {}
    plain = [line for line in lines if "extra ==" not in line]
    return {re.split(r"[^\w.-]", line, maxsplit=1)[0]: line for line in plain}


def _version(*distributions: str) -> str | None:
    """Of the first of them that is installed."""
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _pip(*wanted: str) -> str:
    return " ".join(["pip install", *(f"'{one}'" for one in wanted)])


def _package(module: str, *distributions: str, meaning: str) -> Finding:
    """A package that a module of ours imports, or that is named itself."""
    try:
        import_module(module)
    except (ImportError, OSError) as error:  # OSError: a library beside it that does not load
        wanted = _requirements().get(distributions[0], distributions[0])
        return Finding(f"cannot be imported: {_short(error)}", f"{meaning}; {_pip(wanted)}", "missing")
    return Finding(_version(*distributions) or "of unknown version", meaning)


def _extra(name: str, extra: str, use: str) -> Finding:
    """An optional package; it is not imported, which may take a second."""
    if find_spec(name) is None:
        return Finding("not installed", _installs(extra, use), "missing")
    return Finding(_version(name) or "of unknown version", f"for {use}")


def _installs(extra: str, use: str) -> str:
    return f"only for {use}: {_pip(f'wsss-platform[{extra}]')}"


def _torch() -> Finding:
    found = _package("torch", "torch", meaning="trains and makes maps")
    if found.state != "ok":
        return found
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "a build for CPUs"
    return found._replace(found=f"{torch.__version__}, {build}")


def _optuna() -> Finding:
    return _package("wsss_platform.tune.study_storage", "optuna", meaning="proposes the trials of a study")


def _dense_crf() -> Finding:
    return _package("wsss_platform.masks.crf.dense_crf", *DENSE_CRF, meaning="refines masks by the image")


def _psycopg() -> Finding:
    use = "studies in PostgreSQL (--study-storage postgresql://...)"
    found = _extra("psycopg", "postgres", use)
    if found.state != "ok":
        return found
    imported = _package("psycopg", "psycopg", meaning=found.meaning)  # which asks for the library of PostgreSQL
    return imported if imported.state == "ok" else imported._replace(meaning=_installs("postgres", use))


# --- the machine ----------------------------------------------------------------------------------------


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        every = [torch.cuda.get_device_properties(place) for place in range(torch.cuda.device_count())]
        return Finding(", ".join(f"{one.name} ({_gib(one.total_memory)})" for one in every), "trainings run on them")
    if not NVIDIA.exists():
        return Finding("none", "trainings run on the CPU")
    wrong = "its CUDA finds none" if torch.version.cuda else "it is a build for CPUs"
    to_do = "trainings run on the CPU; check CUDA_VISIBLE_DEVICES, the driver's version and torch's build"
    return Finding(f"an NVIDIA driver, but torch sees no GPU: {wrong}", to_do, "warning")


def _cpu() -> Finding:
    from wsss_platform.engine.machine import cpus

    mine, every = cpus(), os.cpu_count() or 1
    return Finding(f"{mine:g}" if mine == every else f"{mine:g} of {every}", "processes that can work at once")


def _memory() -> Finding:
    from wsss_platform.engine.machine import memory

    return Finding(_gib(memory()), "of this machine, or what its container may take")


def _shared_memory() -> Finding:
    from wsss_platform.engine.machine import OBJECT_STORE, SHARED, free_shared_memory

    free = free_shared_memory()
    if free is None:
        return Finding(f"no {SHARED} on this system", "Ray keeps its objects in files")
    if free < OBJECT_STORE:
        to_do = f"Ray wants {_gib(OBJECT_STORE)} or keeps its objects in slower files: docker run --shm-size=1g"
        return Finding(f"{_gib(free)} free in {SHARED}", to_do, "warning")
    return Finding(f"{_gib(free)} free in {SHARED}", f"Ray's objects, {_gib(OBJECT_STORE)}, fit")


def _storage(given: str | Path | None) -> Finding:
    """The disk of the storage folder, or of where it would be made."""
    from wsss_platform.api._defaults import storage_folder
    from wsss_platform.store.disk import fault

    folder = storage_folder(given).absolute()
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        reason = fault(there)
    except OSError as error:  # a folder above it that we may not read
        reason = _short(error)
    if reason is not None:
        return Finding(reason, "name another folder: --storage or WSSS_STORAGE", "missing")
    free = shutil.disk_usage(there).free
    found = f"{folder}{'' if there == folder else ' (not made yet)'}, {_gib(free)} free"
    if free < LITTLE:
        return Finding(found, "little for a study; `wsss-platform store gc` frees some", "warning")
    return Finding(found, "can be written")


# --- services -------------------------------------------------------------------------------------------


def _ray() -> Finding:
    found = _package("wsss_platform.engine.cluster", "ray", meaning="a run starts a cluster of its own and ends it")
    if found.state != "ok":
        return found
    from wsss_platform.engine.machine import clusters

    running = clusters()
    told = f"{found.found}, {running or 'no'} cluster{'' if running == 1 else 's'} running here"
    if os.environ.get("RAY_ADDRESS"):
        return Finding(told, "a run joins the cluster of RAY_ADDRESS")
    more = "; with RAY_ADDRESS=HOST:PORT it joins one that is there" if running else ""
    return Finding(told, found.meaning + more)


def _wandb() -> Finding:
    found = _package("wandb", "wandb", meaning="tracks runs")
    if found.state != "ok":
        return found
    from wsss_platform.tracking.weights_and_biases import choose_mode

    mode, reason = choose_mode("auto")
    meaning = {
        "online": "runs are tracked at the service",
        "offline": "runs are kept in the storage folder (later: wandb sync); `wandb login` puts them online",
        "disabled": "runs are not tracked",
    }[mode]
    return Finding(f"{found.found}, auto is {mode}{f' ({reason})' if reason else ''}", meaning)


# --- variables of the environment -----------------------------------------------------------------------


def _storage_variable() -> Finding:
    return _variable("WSSS_STORAGE", lambda value: Finding(value, "the storage folder where none is named"))


def _wandb_variable() -> Finding:
    from wsss_platform.tracking.weights_and_biases import MODES

    def told(value: str) -> Finding:
        if value not in MODES:  # it may be a key that was put into the wrong variable
            return Finding("set, to no mode", f"expected one of {', '.join(MODES)}", "warning")
        return Finding(value, "the mode of W&B where none is named")

    return _variable("WSSS_WANDB", told)


def _database() -> str:
    """The kind of database that WSSS_STUDY_STORAGE names; "" for none. The rest of a URL may be a password."""
    scheme, mark, _ = os.environ.get("WSSS_STUDY_STORAGE", "").partition("://")
    return scheme.split("+")[0] if mark else ""


def _study_storage_variable() -> Finding:
    kind = _database()

    def told(_: str) -> Finding:
        if kind not in DATABASES:
            to_do = "expected one, such as sqlite:///studies.db or postgresql://host/name"
            return Finding("set, to no URL of SQLite or PostgreSQL", to_do, "warning")
        return Finding(f"set, to a URL of {kind}", "studies live there")

    return _variable("WSSS_STUDY_STORAGE", told)


def _address_variable() -> Finding:
    def told(value: str) -> Finding:
        return Finding(value.rpartition("@")[2], "the cluster that a run joins; it was not asked")

    return _variable("RAY_ADDRESS", told)


def _threads_variable() -> Finding:
    def told(value: str) -> Finding:
        if not re.fullmatch(r"\d+(,\d+)*", value):
            return Finding("set, to no number", "expected a number of threads", "warning")
        return Finding(value, "threads of every process that does not ask torch for more")

    return _variable("OMP_NUM_THREADS", told)


def _variable(name: str, told: Callable[[str], Finding]) -> Finding:
    value = os.environ.get(name)
    return told(value) if value else Finding("not set")


# --- words ----------------------------------------------------------------------------------------------


def _gib(size: Any) -> str:
    return f"{int(size) / 1024**3:.1f} GiB"


def _short(error: Exception) -> str:
    """The first line of an error, with its kind where it says nothing."""
    line = next(iter(str(error).strip().splitlines()), "")
    return line[:200] or type(error).__name__
