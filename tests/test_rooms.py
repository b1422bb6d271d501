"""The house: which room may import which, and what a room may hold. An AST walk over platform/ and methods/.
A room is a folder of wsss_platform. `LAYERS` lists them from the ground up; a room imports rooms of earlier lines only.
Imports inside functions and under TYPE_CHECKING count. Each rule says its reason when it fails, and each is shown able
to fail on a bad snippet.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SOURCE_ROOTS = ("platform", "methods")
HOUSE = ROOT / "platform" / "wsss_platform"
LONGEST_FILE = 400
MOST_NAMES = 26
"""At the top of wsss_platform: what a reader takes in at a glance."""

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("config",),
    ("method", "store"),
    ("data", "nets"),
    ("plan",),
    ("train", "maps", "masks", "scores"),  # the steps of the pipeline know nothing of each other, but see STORED
    ("run",),
    ("search", "engine", "tracking", "upkeep", "sites"),
    ("tune", "report", "exchange"),
    ("api",),
    ("testing", "cli"),
)
STORED = "maps.storage"
"""The only exception: training, masks and scores read stored maps."""
STORED_FOR = ("train", "masks", "scores")
METHOD_MAY = ("config", "data.views", "errors", "masks.rules", "method", "nets")
OWNERS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "ray": (("engine", "tune", "sites"), "another engine must stay possible, and tools must run without a cluster"),
    "kubernetes": (("sites",), "a cluster without it must stay possible"),
    "optuna": (("tune",), "the sampler can be changed in one place"),
    "wandb": (("tracking",), "a run must not depend on a service"),
    "wandb_workspaces": (("tracking",), "a run must not depend on a service"),
    "pydensecrf": (("masks.crf",), "another CRF must stay possible"),
    "typer": (("cli",), "everything can be done from Python, too"),
    "rich": (("cli", "report.terminal", "report.progress"), "a table is laid out where it is shown"),
    "rich.table": (("report.terminal",), "there is one table, which is Markdown and CSV, too"),
    "pytest": (("testing",), "users have none"),
    "wsss_methods": (("api", "cli"), "the platform must not know its methods"),
}
"""Package -> the rooms that import it, and why."""
OF_SCORES = {"numpy", "numba", "pydantic", "pyarrow"}
LIGHT = (
    "config",
    "config.document",
    "method",
    "plan.affinity",
    "plan.documents",
    "plan.experiment",
    "plan.jobs",
    "plan.protocol",
    "plan.selection",
    "plan.speed",
    "run.documents",
    "search.documents",
    "search.space",
    "store.artefacts",
)
"""Importing these loads neither torch nor ray, so that --help, dry runs and a study's plan stay light."""
DOTTED = re.compile(r"(wsss_platform|wsss_methods)(\.\w+)*:\w+")
"""What `method.dotted` imports."""
HEAVY = {"torch", "ray", "optuna", "wandb"}


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
    """(line, dotted name) of every import, at any depth, also `import_module("...")` and the module of a string such as
    "wsss_methods.cam.module:CamModule". Relative ones keep their dots."""
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
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and DOTTED.fullmatch(node.value):
            yield node.lineno, node.value.split(":")[0]


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def layer(room: str) -> int | None:
    """The line of LAYERS on which a room stands, from 0; None for a name that is no room."""
    return next((place for place, rooms in enumerate(LAYERS) if room in rooms), None)


def faults(module: Module) -> list[str]:
    """What a module imports against the rules, each with its reason."""
    found = {fault for line, name in imports(module) for fault in _faults(module, line, name)}
    return sorted(found)


def _faults(module: Module, line: int, name: str) -> Iterator[str]:
    where = f"{module.name}:{line} imports {name}"
    if name.startswith("."):
        yield f"{where}: write the full name; relative imports hide which room is meant"
        return
    for package, (rooms, reason) in OWNERS.items():
        owned = any(inside(module.name, f"wsss_platform.{room}") for room in rooms)
        if inside(name, package) and not owned and not inside(module.name, package):
            yield f"{where}: only {', '.join(rooms)} may, because {reason}"
    if module.room == "scores" and name.split(".")[0] not in sys.stdlib_module_names | OF_SCORES | {"wsss_platform"}:
        yield f"{where}: scores take arrays, so that they can be used and tested without the rest"
    if inside(module.name, "wsss_platform"):
        yield from _platform_faults(module, name, where)
    else:
        yield from _method_faults(module, name, where)


def _platform_faults(module: Module, name: str, where: str) -> Iterator[str]:
    target = name.removeprefix("wsss_platform.")
    room = target.split(".")[0]
    if not name.startswith("wsss_platform.") or room in (module.room, "__version__"):
        return
    mine, theirs = layer(module.room), layer(room)
    if not module.room:
        yield f"{where}: the package itself imports no room; `import wsss_platform.api` does"
    elif mine is None or theirs is None:
        yield f"{where}: {module.room if mine is None else room} is on no line of LAYERS"
    elif theirs > mine:
        yield f"{where}: {module.room} stands below {room}; move what both need to a lower room"
    elif theirs == mine and not (module.room in STORED_FOR and (inside(target, STORED) or target == "maps")):
        yield f"{where}: {module.room} and {room} stand side by side and know nothing of each other"


def _method_faults(module: Module, name: str, where: str) -> Iterator[str]:
    own = ".".join(module.name.split(".")[:2])
    catalogue = module.name == "wsss_methods"
    if inside(name, "wsss_methods") and name != "wsss_methods" and not inside(name, own) and not catalogue:
        yield f"{where}: a method must be readable alone; move what is shared to the platform"
    if name.startswith("wsss_platform.") and not any(
        inside(name, f"wsss_platform.{room}") or inside(f"wsss_platform.{room}", name) for room in METHOD_MAY
    ):
        yield f"{where}: a method may import {', '.join(METHOD_MAY)}; the platform calls methods, not the reverse"


def circles(known: Iterable[Module]) -> list[list[str]]:
    """Groups of modules that import each other, directly or by way of others."""
    by_name = {module.name: module for module in known}
    targets = {
        name: {target for _, target in imports(module) if target in by_name and target != name}
        for name, module in by_name.items()
    }
    for name, found in targets.items():  # `from package import module` needs the module, not what else the package has
        packages = {target for target in found if any(inside(other, target) and other != target for other in found)}
        targets[name] = found - packages
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:  # Tarjan's strongly connected components
        order[name] = low[name] = len(order)
        stack.append(name)
        for target in sorted(targets[name]):
            if target not in order:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], order[target])
        if low[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for name in sorted(by_name):
        if name not in order:
            visit(name)
    return groups


# --- the house as it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize("module", list(modules()), ids=lambda module: module.name)
def test_imports(module: Module) -> None:
    assert not faults(module), "\n".join(faults(module))


def test_no_circles() -> None:
    found = circles(modules())
    assert not found, "\n".join(" <-> ".join(group) for group in found)


def test_every_room_is_on_a_line_and_few_names_lie_at_the_top() -> None:
    names = {path.name for path in HOUSE.iterdir() if path.name != "__pycache__"}
    loose = {name for name in names if name.endswith(".py")}
    rooms = {name for name in names if (HOUSE / name / "__init__.py").exists()}
    assert loose == {"__init__.py", "errors.py"}, "a module belongs into a room"
    assert rooms | {"errors"} == {room for rooms_of_line in LAYERS for room in rooms_of_line}, "say in LAYERS"
    assert len(names) <= MOST_NAMES, sorted(names)


def test_the_map_of_the_package_names_every_room() -> None:
    said = ast.get_docstring(ast.parse((HOUSE / "__init__.py").read_text(encoding="utf-8"))) or ""
    missing = [room for rooms in LAYERS for room in rooms if not re.search(rf"^ *{room}\b", said, re.MULTILINE)]
    assert not missing, f"{missing}: say in the docstring of wsss_platform what lies there"


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
    done = subprocess.run([tmp_path / ".ci" / "run"], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 1
    assert "shadows" in done.stderr
    assert not done.stdout


def test_files_are_short_and_named_after_what_they_hold() -> None:
    for path in [*sources(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        assert path.stem not in ("utils", "util", "helpers", "common", "misc"), f"{path}: name it after what it holds"
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= LONGEST_FILE, f"{path}: {lines} lines; over {LONGEST_FILE} a file holds two things"


def test_data_folders_hold_no_python() -> None:
    found = [path for name in ("search_spaces", "recipes", "cluster") for path in (ROOT / name).rglob("*.py")]
    assert not found, f"{found}: these folders are shipped as data; code belongs to platform/"


def loaded_after(code: str) -> set[str]:
    """Top-level modules in sys.modules of a fresh interpreter after running `code`."""
    program = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600)
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
    assert not loaded_after(HELP.format(arguments=arguments)) & HEAVY


def test_light_modules_load_neither_torch_nor_ray() -> None:
    assert not loaded_after("\n".join(f"import wsss_platform.{name}" for name in LIGHT)) & HEAVY


def test_loading_is_noticed() -> None:
    assert "optuna" in loaded_after("import optuna")


# --- each rule can fail ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source", "reason"),
    [
        ("wsss_platform.run.pipeline", "import ray", "only engine, tune, sites may"),
        ("wsss_platform.run.pipeline", "def f():\n    from ray import train", "only engine, tune, sites may"),
        ("wsss_platform.run.chunks", "import importlib\nimportlib.import_module('ray.data')", "only engine, tune"),
        ("wsss_platform.engine.runner", "import optuna", "only tune may"),
        ("wsss_platform.tune.tuner", "import wandb", "only tracking may"),
        ("wsss_platform.api.train", "import typer", "only cli may"),
        ("wsss_platform.run.records", "from rich.table import Table", "only report.terminal may"),
        ("wsss_platform.cli.compare", "from rich.table import Table", "only report.terminal may"),
        ("wsss_platform.masks.rules", "import pydensecrf.densecrf", "only masks.crf may"),
        ("wsss_platform.maps.extract", "from wsss_platform.engine import cluster", "maps stands below engine"),
        ("wsss_platform.train.loop", "from wsss_platform import engine", "train stands below engine"),
        ("wsss_platform.nets.resnet", "from wsss_platform.maps.extract import f", "nets stands below maps"),
        ("wsss_platform.masks.make", "from wsss_platform.maps.extract import f", "side by side"),
        ("wsss_platform.maps.extract", "from wsss_platform.masks.make import f", "side by side"),
        ("wsss_platform.tune.report", "from wsss_platform.report.tables import f", "side by side"),
        ("wsss_platform.scores.sweep", "import torch", "scores take arrays"),
        ("wsss_platform.config", "from wsss_platform.method import Method", "config stands below method"),
        ("wsss_platform.plan.stages", "if TYPE_CHECKING:\n    from wsss_platform.run import pipeline", "stands below"),
        ("wsss_platform.tune.tuner", "from wsss_platform.cli import main", "tune stands below cli"),
        ("wsss_platform.tune.tuner", "from wsss_methods import find", "must not know its methods"),
        ("wsss_platform", "from wsss_platform.api import train", "the package itself imports no room"),
        ("wsss_platform.store.disk", "from .errors import InputError", "full name"),
        ("wsss_platform.unheard_of", "from wsss_platform.store import Store", "on no line of LAYERS"),
        ("wsss_platform.run.pipeline", "from wsss_platform.unheard_of import f", "on no line of LAYERS"),
        ("wsss_methods.fbr.module", "from wsss_methods.cam.config import C", "readable alone"),
        ("wsss_methods.fbr.module", "from wsss_methods import cam", "readable alone"),
        ("wsss_methods.fbr.__init__", "Phase('fbr', 'wsss_methods.cam.module:Cam', ())", "readable alone"),
        ("wsss_methods.fbr.__init__", "Phase('fbr', 'wsss_platform.train.loop:train', ())", "a method may import"),
        ("wsss_methods.fbr.module", "from wsss_platform.store import Store", "a method may import"),
        ("wsss_methods.fbr.module", "import wsss_platform.tune.tuner", "a method may import"),
        ("wsss_methods.fbr.module", "import wandb", "only tracking may"),
    ],
)
def test_bad_imports_are_found(name: str, source: str, reason: str) -> None:
    assert any(reason in fault for fault in faults(parse(name, source))), faults(parse(name, source))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("wsss_platform.tune.tuner", "import ray, optuna\nfrom wsss_platform.run.pipeline import run"),
        (
            "wsss_platform.masks.make",
            "from wsss_platform.maps.storage import read\nfrom wsss_platform.masks import crf",
        ),
        ("wsss_methods.__init__", "from wsss_methods import cam\nfrom wsss_platform.method import Method"),
        ("wsss_methods.__init__", "CATALOGUE = {'cam': 'wsss_methods.cam:METHOD'}"),
        ("wsss_methods.fbr.__init__", "Phase('fbr', 'wsss_methods.fbr.module:Fbr', ())"),
        ("wsss_methods.fbr.__init__", "from wsss_methods.fbr.config import C\nfrom wsss_platform.data.views import V"),
        ("wsss_platform.api.train", "import wsss_methods\nfrom wsss_platform.engine.runner import R"),
    ],
)
def test_good_imports_pass(name: str, source: str) -> None:
    assert not faults(parse(name, source))


@pytest.mark.parametrize(
    "second",
    [
        "from wsss_platform.data.a import f",
        "def f():\n    import wsss_platform.data.a",
        "from wsss_platform.data import a",
    ],
)
def test_circles_are_found(second: str) -> None:
    first = parse("wsss_platform.data.a", "from wsss_platform.data import b")
    package = parse("wsss_platform.data.__init__", "")
    assert circles([package, first, parse("wsss_platform.data.b", second)]) == [
        ["wsss_platform.data.a", "wsss_platform.data.b"]
    ]
    assert not circles([package, first, parse("wsss_platform.data.b", "from wsss_platform.data import c")])
