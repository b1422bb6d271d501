"""The tests themselves: each module stands alone, the tiers run what they say, and nothing is left behind."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
SHARED = TESTS / "shared"
TEST_MODULE = re.compile(r"^\s*(?:from|import) +(?:tests\b|conftest\b|(?:\w+\.)*test_\w+)", re.MULTILINE)
SHELL = re.compile(rb"#!.*\b(?:ba|da)?sh\b")
PATHS = ("sys.path", "addsitedir")


def faults(source: str) -> Iterator[str]:
    """Imports of a test module, also in programs that a test writes down; and other ways to what is shared."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            text = ast.unparse(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in PATHS:
            yield f"{node.lineno}: what several modules use is in tests/shared, which is on the path"
            continue
        else:
            continue
        if found := TEST_MODULE.search(text):
            yield f"{node.lineno}: {found[0].strip()}: what two test modules use belongs to tests/shared"


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_no_module_imports_a_test_module(path: Path) -> None:
    if path != Path(__file__):
        assert not list(faults(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "source",
    [
        "from test_store import make",
        "def f():\n    import test_store",
        "from tests.unit.test_store import make",
        "from conftest import small",
        "PROGRAM = '''\nimport json\nfrom test_store import make\n'''",
        "import sys\nsys.path.insert(0, 'x')",
    ],
)
def test_an_import_is_found(source: str) -> None:
    assert list(faults(source))


def test_what_is_shared_holds_no_tests() -> None:
    modules = list(SHARED.glob("*.py"))
    assert modules
    for path in modules:
        assert not path.stem.startswith("test_")
        names = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        assert not [name for name in names if name.startswith("test_")]


def calls(*words: str) -> list[str]:
    """The pytest calls of a make target, without what stands before `pytest`."""
    if shutil.which("make") is None:
        pytest.skip("no make")
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MARK", "ARGS"))}
    command = ["make", "--dry-run", "--always-make", *words]
    said = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=True).stdout
    return [line.split("pytest", 1)[1].strip() for line in said.splitlines() if "-m pytest" in line]


def test_the_tiers_of_the_makefile() -> None:
    (first,) = calls("test", "ARGS=tests/unit -k store")
    assert first == (
        '-n auto --dist worksteal -m "smoke or not (ray or slurm or drill or upstream or slow)" tests/unit -k store'
    )
    assert calls("test", "MARK=ray", "ARGS=-x") == ['-n 2 --dist loadfile -m "ray" -x']
    alone, clusters = calls("test-all")
    assert alone.startswith('-n auto --dist worksteal -m "not (ray or slurm or drill or upstream)"')
    assert clusters.startswith('-n 2 --dist loadfile -m "(ray or slurm) and not (drill or upstream)"')
    assert calls("drills") == ["-m drill"]


def scripts() -> set[str]:
    found = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("not a checkout")
    paths = [path for path in found.stdout.splitlines() if (ROOT / path).is_file()]
    return {path for path in paths if path.endswith((".sh", ".bash")) or SHELL.match((ROOT / path).read_bytes()[:100])}


def test_every_shell_script_is_checked() -> None:
    (line,) = re.findall(r"^SCRIPTS\s*:= (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(line.split()) == scripts()
    hook = re.search(r"id: shellcheck.*?files: (\S+)", (ROOT / ".pre-commit-config.yaml").read_text(), re.DOTALL)
    assert hook
    assert all(re.search(hook[1], script) for script in scripts())


def test_the_lock_file_holds_exact_versions_and_no_places() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    comment, pins = [line for line in lines if line.startswith("#")], [line for line in lines if line[0] != "#"]
    assert len(comment) == 1
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin) for pin in pins), (
        "no local builds, paths, addresses"
    )
    assert {"ray", "torch", "torchvision", "optuna", "ruff", "pytest"} <= {pin.partition("==")[0] for pin in pins}


LITTER = """
import multiprocessing.util, tempfile
import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_litter(number, tmp_path):
    tempfile.mkdtemp(prefix="wsss-")
    assert multiprocessing.util.get_temp_dir()
"""


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_session_leaves_nothing_in_the_temporary_folder(processes: str, tmp_path: Path) -> None:
    """Processes that are killed leave folders behind: the suite's own temporary folder goes with all of them."""
    suite, temporary = tmp_path / "tests", tmp_path / "temporary"
    suite.mkdir()
    temporary.mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\ntmp_path_retention_policy = failed\n")
    (suite / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    (suite / "test_litter.py").write_text(LITTER)
    settings = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-n", processes, str(suite)]
    done = subprocess.run(
        command, cwd=tmp_path, env={**settings, "TMPDIR": str(temporary)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    left = [path for path in temporary.rglob("*") if not path.is_symlink()]
    assert all(path.name.startswith("pytest-of-") for path in left), left
