"""Who may import whom, and what a room may hold: an AST walk over platform/ and methods/.

Each rule says its reason when it fails, and each is shown able to fail on a bad snippet.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SOURCE_ROOTS = ("platform", "methods")
LONGEST_FILE = 400

# The map of the house: room -> the rooms (or modules) of wsss_platform that it may import, besides itself.
# `None` is a room above the engine line: pipeline, tools and the command line, limited by NEVER only.
MAY: dict[str, tuple[str, ...] | None] = {
    "errors": (),
    "config": ("errors",),
    "store": ("errors",),
    "space": ("config", "errors"),
    "objective": ("config", "errors"),
    "method": ("config", "errors", "objective"),
    "data": ("config", "errors", "objective", "store"),
    "nets": ("config", "errors", "masks.affinity", "objective"),
    "maps": ("config", "data", "errors", "nets.cpu.winograd", "objective", "store"),
    "environment": (),
    "masks": ("config", "data.index_png", "data.split", "errors", "maps.storage", "store"),
    "metrics": ("config", "errors", "store"),
    "affinity": ("config", "errors", "method", "nets", "objective"),
    "experiment": ("affinity", "config", "data", "errors", "method", "schedule", "store"),
    "protocol": ("affinity", "config", "errors", "experiment"),
    "selection": ("config", "data.part", "errors", "experiment", "protocol"),
    "schedule": ("config", "errors", "method"),
    "stages": ("experiment", "method", "schedule"),
    "train": (
        "config",
        "data",
        "errors",
        "experiment",
        "maps.storage",
        "masks.palette",
        "method",
        "nets.cpu.memory",
        "objective",
        "stages",
        "store",
    ),
    "tracking": ("config", "errors", "experiment", "inner.table", "metrics", "protocol", "store"),
    "disk": ("errors",),
    "interrupts": ("experiment", "pipeline"),
    "inventory": ("errors", "store", "tracking.records"),
    "mirror": ("errors", "store", "tracking.records"),
    "retention": ("inventory", "store", "tracking.records"),
    "sharing": ("errors", "experiment", "store"),
    "costs": ("config", "experiment", "inner.levels", "inner.table", "space", "stages", "store", "train.record"),
    "verification": None,
    "label_free": None,
    "work": None,
    "imported": None,
    "export": ("config", "data", "errors", "experiment", "masks.palette", "metrics", "protocol", "store"),
    "local_runner": None,
    "pipeline": None,
    "saliency_sweep": None,
    "comparison": None,
    "comparison_figures": None,
    "crf_search": None,
    "inner": None,
    "drawing": None,
    "show": None,
    "engine": None,
    "cli": None,
}
METHOD_MAY = ("config", "data.views", "errors", "masks.rules", "method", "nets", "objective")
THIRD_PARTY_OF_METRICS = {"numpy", "numba", "pydantic", "pyarrow"}
# Importing these must load neither torch nor ray, so that --help, dry runs and the tuner's plan stay light.
LIGHT = ("config", "space", "method", "experiment", "store", "protocol", "selection", "stages")
# package -> the only places that import it, and why
OWNERS: dict[str, tuple[tuple[str, ...], str]] = {
    "ray": (("wsss_platform.engine",), "another engine must stay possible, and tools must run without a cluster"),
    "optuna": (
        (
            "wsss_platform.engine.tuner",
            "wsss_platform.engine.searcher",
            "wsss_platform.engine.study",
            "wsss_platform.engine.study_page",
            "wsss_platform.engine.journal",
            "wsss_platform.engine.population_run",
            "wsss_platform.engine.samplers",
            "wsss_platform.engine.study_storage",
            "wsss_platform.engine.warm_start",
            "wsss_platform.engine.front_figure",
            "wsss_platform.engine.gpu_hours",
            "wsss_platform.engine.pruners",
        ),
        "the sampler can be changed in one place",
    ),
    "wandb": (("wsss_platform.tracking",), "a run must not depend on a service"),
    "pydensecrf": (("wsss_platform.masks.crf",), "another CRF must stay possible"),
}
NEVER_ENGINE = (
    "comparison",
    "comparison_figures",
    "crf_search",
    "drawing",
    "imported",
    "inner",
    "label_free",
    "local_runner",
    "pipeline",
    "saliency_sweep",
    "show",
    "verification",
    "work",
)


@dataclass(frozen=True)
class Module:
    """A parsed source file."""

    name: str
    """Dotted, without a trailing `.__init__`."""
    tree: ast.Module

    @property
    def room(self) -> str:
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else ""


def parse(name: str, source: str) -> Module:
    return Module(name.removesuffix(".__init__"), ast.parse(source))


def sources() -> list[Path]:
    return [path for root in SOURCE_ROOTS for path in sorted((ROOT / root).rglob("*.py"))]


def modules() -> Iterator[Module]:
    for path in sources():
        parts = path.relative_to(ROOT).with_suffix("").parts[1:]
        yield parse(".".join(parts), path.read_text(encoding="utf-8"))


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, at any depth, also `import_module("...")`. Relative ones keep their dots."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield node.lineno, base
            for alias in node.names:  # `from wsss_platform import engine` imports a module, too
                yield node.lineno, f"{base}.{alias.name}"
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def faults(module: Module) -> list[str]:
    """What a module imports against the rules, each with its reason."""
    found = {fault for line, name in imports(module) for fault in _faults(module, line, name)}
    return sorted(found)


def _faults(module: Module, line: int, name: str) -> Iterator[str]:
    where = f"{module.name}:{line} imports {name}"
    if name.startswith("."):
        yield f"{where}: write the full name; relative imports hide which room is meant"
        return
    for package, (owners, reason) in OWNERS.items():
        if inside(name, package) and not any(inside(module.name, owner) for owner in owners):
            yield f"{where}: only {', '.join(owners)} may, because {reason}"
    if module.room == "metrics" and module.name.startswith("wsss_platform."):
        top = name.split(".")[0]
        if top not in sys.stdlib_module_names | THIRD_PARTY_OF_METRICS | {"wsss_platform"}:
            yield f"{where}: metrics take arrays, so that they can be used and tested without the rest"
    if module.name.startswith("wsss_platform"):
        yield from _platform_faults(module, name, where)
    else:
        yield from _method_faults(module, name, where)


def _platform_faults(module: Module, name: str, where: str) -> Iterator[str]:
    if inside(name, "wsss_methods") and module.room != "cli":
        yield f"{where}: only cli may, because the platform must not know its methods"
    if not name.startswith("wsss_platform."):
        return
    target = name.removeprefix("wsss_platform.")
    if not module.room or inside(target, module.room) or target == "__version__":
        return
    if inside(target, "cli"):
        yield f"{where}: the command line is the outermost room"
    if inside(target, "engine") and module.room in NEVER_ENGINE:
        yield f"{where}: what is computed must not know where it runs"
    allowed = MAY.get(module.room, ())
    if allowed is not None and not any(inside(target, room) or inside(room, target) for room in allowed):
        reason = "computing rooms stay independent of where they run" if inside(target, "engine") else "see MAY"
        yield f"{where}: {module.room} may import {', '.join(allowed) or 'nothing of the platform'}; {reason}"


def _method_faults(module: Module, name: str, where: str) -> Iterator[str]:
    own = ".".join(module.name.split(".")[:2])
    catalogue = module.name == "wsss_methods"
    if inside(name, "wsss_methods") and name != "wsss_methods" and not inside(name, own) and not catalogue:
        yield f"{where}: a method must be readable alone; move what is shared to the platform"
    if name.startswith("wsss_platform.") and not any(
        inside(name, f"wsss_platform.{room}") or inside(f"wsss_platform.{room}", name) for room in METHOD_MAY
    ):
        yield f"{where}: a method may import {', '.join(METHOD_MAY)}; the platform calls methods, not the reverse"


# --- the house as it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize("module", list(modules()), ids=lambda module: module.name)
def test_imports(module: Module) -> None:
    assert not faults(module), "\n".join(faults(module))


def test_every_room_is_on_the_map() -> None:
    rooms = {path.stem for path in (ROOT / "platform" / "wsss_platform").iterdir() if path.suffix == ".py"}
    rooms |= {path.name for path in (ROOT / "platform" / "wsss_platform").iterdir() if (path / "__init__.py").exists()}
    assert rooms - {"__init__"} == set(MAY), "a room was added or removed: say in MAY what it may import"


def test_platform_has_no_init() -> None:
    for root in SOURCE_ROOTS:
        assert not (ROOT / root / "__init__.py").exists(), (
            f"{root}/__init__.py makes the source root a package; platform/__init__.py shadows Python's own `platform` "
            "module and breaks uuid, pytest and every Ray worker"
        )
    import platform

    assert platform.python_version()


def test_the_other_guards_know_it_too(tmp_path: Path) -> None:
    """CI's first line and the pre-commit hook."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    guard = next(hook for hook in hooks if hook["id"] == "no-platform-init")
    assert guard["language"] == "fail"
    assert re.search(guard["files"], "platform/__init__.py")
    assert not re.search(guard["files"], "platform/wsss_platform/__init__.py")
    (tmp_path / ".ci").mkdir()
    (tmp_path / "platform").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "platform" / "__init__.py").touch()
    done = subprocess.run([tmp_path / ".ci" / "run"], capture_output=True, text=True, timeout=30, cwd=tmp_path)
    assert done.returncode == 1
    assert "shadows" in done.stderr
    assert not done.stdout


def test_files_are_short_and_named_after_what_they_hold() -> None:
    for path in [*sources(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        assert path.stem not in ("utils", "util", "helpers", "common", "misc"), f"{path}: name it after what it holds"
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= LONGEST_FILE, f"{path}: {lines} lines; over {LONGEST_FILE} a file holds two things"


def test_data_folders_hold_no_python() -> None:
    found = [path for name in ("search_spaces", "cluster") for path in (ROOT / name).rglob("*.py")]
    assert not found, f"{found}: these folders are shipped as data; code belongs to platform/"


def loaded_after(code: str) -> set[str]:
    """Top-level modules in sys.modules of a fresh interpreter after running `code`."""
    program = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


HELP = """
import contextlib, io
from wsss_platform.cli import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:
    main({arguments!r})
assert "Usage" in out.getvalue(), out.getvalue()
"""


@pytest.mark.parametrize("arguments", [["--help"], ["tune", "--help"]], ids=" ".join)
def test_help_loads_neither_torch_nor_ray(arguments: list[str]) -> None:
    assert not loaded_after(HELP.format(arguments=arguments)) & {"torch", "ray", "optuna", "wandb"}


@pytest.mark.parametrize("name", LIGHT)
def test_light_modules_load_neither_torch_nor_ray(name: str) -> None:
    assert not loaded_after(f"import wsss_platform.{name}") & {"torch", "ray", "optuna", "wandb"}


def test_loading_is_noticed() -> None:
    assert "optuna" in loaded_after("import optuna")


# --- each rule can fail ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source", "reason"),
    [
        ("wsss_platform.pipeline", "import ray", "only wsss_platform.engine may"),
        ("wsss_platform.pipeline", "def f():\n    from ray import train", "only wsss_platform.engine may"),
        ("wsss_platform.work", "import importlib\nimportlib.import_module('ray.data')", "only wsss_platform.engine"),
        ("wsss_platform.engine.runner", "import optuna", "only wsss_platform.engine.tuner"),
        ("wsss_platform.engine.tuner", "import wandb", "only wsss_platform.tracking"),
        ("wsss_platform.masks.rules", "import pydensecrf.densecrf", "only wsss_platform.masks.crf"),
        ("wsss_platform.maps.extract", "from wsss_platform.engine import cluster", "independent of where they run"),
        ("wsss_platform.train.loop", "from wsss_platform import engine", "independent of where they run"),
        ("wsss_platform.nets.resnet", "from wsss_platform.maps.extract import f", "nets may import"),
        ("wsss_platform.masks.make", "from wsss_platform.maps.extract import f", "masks may import"),
        ("wsss_platform.metrics.sweep", "import torch", "metrics take arrays"),
        ("wsss_platform.metrics.sweep", "from wsss_platform.data import open_data", "metrics may import"),
        ("wsss_platform.config", "from wsss_platform.method import Method", "config may import errors"),
        ("wsss_platform.pipeline", "from wsss_platform.engine.runner import R", "must not know where it runs"),
        ("wsss_platform.engine.tuner", "from wsss_platform.cli import main", "outermost room"),
        ("wsss_platform.engine.tuner", "from wsss_methods import find", "only cli may"),
        ("wsss_platform.store", "from .errors import InputError", "full name"),
        ("wsss_platform.unheard_of", "from wsss_platform.store import Store", "nothing of the platform"),
        ("wsss_methods.fbr.objective", "from wsss_methods.cam.config import C", "readable alone"),
        ("wsss_methods.fbr.objective", "from wsss_methods import cam", "readable alone"),
        ("wsss_methods.fbr.objective", "from wsss_platform.store import Store", "a method may import"),
        ("wsss_methods.fbr.objective", "import wsss_platform.engine.tuner", "a method may import"),
        ("wsss_methods.fbr.objective", "import wandb", "only wsss_platform.tracking"),
    ],
)
def test_bad_imports_are_found(name: str, source: str, reason: str) -> None:
    assert any(reason in fault for fault in faults(parse(name, source))), faults(parse(name, source))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("wsss_platform.engine.tuner", "import ray, optuna\nfrom wsss_platform.pipeline import run"),
        (
            "wsss_platform.masks.make",
            "from wsss_platform.maps.storage import read\nfrom wsss_platform.masks import crf",
        ),
        ("wsss_methods.__init__", "from wsss_methods import cam\nfrom wsss_platform.method import Method"),
        ("wsss_methods.fbr.__init__", "from wsss_methods.fbr.config import C\nfrom wsss_platform.data.views import V"),
        ("wsss_platform.cli.run", "import wsss_methods\nfrom wsss_platform.engine.runner import R"),
    ],
)
def test_good_imports_pass(name: str, source: str) -> None:
    assert not faults(parse(name, source))
