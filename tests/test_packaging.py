"""The wheel: what is in it, that it runs from another folder, and that Ray workers can import both packages. And the
files that GitHub reads.

Building needs hatchling from the package index; without it these tests skip.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SHIPPED = ("search_spaces", "recipes", "cluster")
"""Folders at the top of the checkout that lie inside the package in a wheel."""
SOURCE_OF_VERSION = "platform/wsss_platform/__init__.py"
WHERE = """
import json, os, platform, uuid
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)

@ray.remote
def where():
    import platform, wsss_methods, wsss_platform
    return wsss_platform.__file__, wsss_methods.__file__, platform.python_version()

print(json.dumps(ray.get(where.remote())))
ray.shutdown()
"""


def run(command: list[str | Path], folder: Path) -> str:
    """Standard output of a command that must succeed, without the surroundings' Python paths."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RAY_"))}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=folder)
    if done.returncode and "No matching distribution found for hatchling" in done.stderr:
        pytest.skip("hatchling cannot be had: no package index here")
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a fresh environment with the wheel; dependencies are seen through a path, so nothing is downloaded.

    A path in a .pth file does not read the .pth files inside it: the editable install stays out of sight.
    """
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    run([*pip, "--no-deps", "--no-index", wheel], folder)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_contents(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    code = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    assert {name.split("/")[0] for name in code} == {"wsss_platform", "wsss_methods"}
    for root in ("platform", "methods"):
        sources = {str(path.relative_to(ROOT / root)) for path in (ROOT / root).rglob("*.py")}
        presets = {str(path.relative_to(ROOT / root)) for path in (ROOT / root).rglob("presets/*.toml")}
        assert sources | presets <= names
    for name in SHIPPED:
        data = {path for path in (ROOT / name).rglob("*") if path.is_file()}
        assert data
        assert {f"wsss_platform/{path.relative_to(ROOT)}" for path in data} <= names
    assert {"wsss_platform/py.typed", "wsss_methods/py.typed"} <= names
    unwanted = [name for name in code if "test" in Path(name).parts[0] or "__pycache__" in name or "/tests/" in name]
    assert not unwanted


FOUND = """
import json
from wsss_platform.config.shipped import shipped, shipped_file, shipped_names
names = {folder: shipped_names(folder, ".toml") for folder in ("search_spaces", "recipes")}
paths = [shipped_file(folder, name, ".toml") for folder in names for name in names[folder]] + [shipped("cluster")]
print(json.dumps([names, [str(path) for path in paths]]))
"""


def test_shipped_files_are_found_from_another_folder(installed: Path, tmp_path: Path) -> None:
    names, paths = json.loads(run([installed, "-c", FOUND], tmp_path))
    for folder, found in names.items():
        ours = (path.relative_to(ROOT / folder).with_suffix("") for path in (ROOT / folder).rglob("*.toml"))
        assert found == sorted(map(str, ours))
        assert found
    assert all(Path(path).is_relative_to(installed.parents[1]) for path in paths), paths


def test_presets_and_spaces_exist() -> None:
    assert list((ROOT / "methods").rglob("presets/*.toml"))
    assert list((ROOT / "search_spaces").glob("*.toml"))


def test_command_runs_from_another_folder(installed: Path, tmp_path: Path) -> None:
    command = installed.with_name("wsss-platform")
    assert "tune" in run([command, "--help"], tmp_path)
    listed = json.loads(run([command, "methods", "--json"], tmp_path))
    assert "fbr" in json.dumps(listed)


def test_version_is_said_once(wheel: Path, installed: Path, tmp_path: Path) -> None:
    """The wheel has the version of the package, and the command prints it."""
    (line,) = re.findall(r'^__version__ = "(.+)"$', (ROOT / SOURCE_OF_VERSION).read_text(encoding="utf-8"), re.M)
    assert wheel.name.startswith(f"wsss_platform-{line}-")
    assert run([installed.with_name("wsss-platform"), "--version"], tmp_path) == f"wsss-platform {line}\n"
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_editable_install_has_the_version(tmp_path: Path) -> None:
    """In an environment of its own: the metadata say what the package says, and its code is the checkout's."""
    venv.create(tmp_path / "editable", with_pip=False)
    python = tmp_path / "editable" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    done = subprocess.run([*pip, "--editable", str(ROOT)], capture_output=True, text=True, timeout=600, cwd=tmp_path)
    if done.returncode and "No matching distribution found for hatchling" in done.stderr:
        pytest.skip("hatchling cannot be had: no package index here")
    assert done.returncode == 0, done.stderr
    code = "import importlib.metadata as m, wsss_platform as p; print(p.__file__, p.__version__, m.version(p.__name__))"
    file, said, installed = run([python, "-c", code], tmp_path).split()
    assert Path(file) == ROOT / SOURCE_OF_VERSION
    assert said == installed


def test_import_comes_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    program = "import platform, wsss_platform, wsss_methods; platform.python_version(); print(wsss_platform.__file__)"
    assert Path(run([installed, "-c", program], tmp_path).strip()).is_relative_to(installed.parents[1])


@pytest.mark.ray
def test_ray_worker_imports_the_wheel(installed: Path, tmp_path: Path) -> None:
    *files, version = json.loads(run([installed, "-c", WHERE], tmp_path).splitlines()[-1])
    assert all(Path(file).is_relative_to(installed.parents[1]) for file in files), files
    assert version.startswith("3.")


@pytest.mark.ray
def test_ray_worker_imports_the_editable_install(tmp_path: Path) -> None:
    *files, version = json.loads(run([sys.executable, "-c", WHERE], tmp_path).splitlines()[-1])
    assert files == [
        str(ROOT / "platform" / "wsss_platform" / "__init__.py"),
        str(ROOT / "methods" / "wsss_methods" / "__init__.py"),
    ]
    assert version.startswith("3.")


# --- what GitHub reads ----------------------------------------------------------------------------------


def targets(makefile: str) -> set[str]:
    """Names that `make` can be asked for."""
    return {name for line in re.findall(r"^\.PHONY: (.*)$", makefile, re.M) for name in line.split()}


def unknown_steps(workflow: str, makefile: str) -> list[str]:
    """Commands of a workflow that are not one target of the Makefile."""
    jobs = yaml.safe_load(workflow)["jobs"].values()
    commands = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert commands, "a workflow that runs nothing"
    known = {f"make {name}" for name in targets(makefile)}
    return [command for command in commands if command.strip() not in known]


def test_workflows_are_calls_of_make() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{name}:", makefile, re.M) for name in targets(makefile))
    found = list((ROOT / ".github" / "workflows").glob("*.yml"))
    assert found
    for path in found:
        assert not unknown_steps(path.read_text(encoding="utf-8"), makefile), path


@pytest.mark.parametrize("command", ["pytest", "make tests", "make test; curl e.org", "make lint\nmake"])
def test_another_command_is_found(command: str) -> None:
    workflow = yaml.safe_dump({"jobs": {"one": {"steps": [{"uses": "it"}, {"run": "make test"}, {"run": command}]}}})
    assert unknown_steps(workflow, ".PHONY: test lint\ntest:\nlint:\n") == [command]


def test_a_report_of_a_bug_says_the_command_and_the_machine() -> None:
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    asked = {field["id"]: field for field in form["body"]}
    assert "`wsss-platform doctor --json`" in asked["doctor"]["attributes"]["description"]
    assert all(asked[name]["validations"]["required"] for name in ("command", "doctor"))
