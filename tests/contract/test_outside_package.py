"""The method of docs/guides/add_a_method.md, as a package of somebody else: it passes the suite and trains; mistakes
fail.

A pytest of its own runs the suite on the toy, another one on copies with one mistake each the check that must find it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

import wsss_methods
import wsss_platform
from the_command import TINY, document, process
from wsss_platform.errors import InputError
from wsss_platform.testing import method_tests
from wsss_platform.testing.phase_checks import SLOW

DOCUMENT = Path(__file__).parents[2] / "docs" / "guides" / "add_a_method.md"
FILE = re.compile(r"^<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TESTS = 45
"""Seven of the method, four of its phase, nine of both variants, and for both four sizes and four limits."""


def files() -> dict[str, str]:
    return dict(FILE.findall(DOCUMENT.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Mutant:
    """A copy of the toy with one mistake."""

    path: str
    """In which file."""
    old: str
    new: str
    check: str
    """The test that must fail."""
    said: str
    """What it says."""


MUTANTS = {
    "toy_unweighted": Mutant(
        "config.py",
        '    certainty: float = Field(0.1, ge=0, le=10)\n    """Entropy',
        '    """Entropy',
        "test_loss_terms_are_the_loss_fields_and_finite",
        "losses() gives ['certainty'], which loss has no weight for",
    ),
    "toy_idle": Mutant(
        "module.py",
        "        self.classifier = ",
        "        self.unused = nn.Linear(2, 2)\n        self.classifier = ",
        "test_gradient_reaches_every_trainable_parameter",
        "no gradient reaches unused.weight, unused.bias",
    ),
    "toy_misshapen": Mutant(
        "module.py",
        "        return maps\n",
        "        return maps[:, :, :1]\n",
        "test_class_maps_have_the_declared_shape",
        "class_maps() of 64 x 64 pixels at stride 16",
    ),
    "toy_random": Mutant(
        "module.py",
        "self.classifier(features)",
        "self.classifier(functional.dropout(features))",
        "test_class_maps_do_not_depend_on_chance_or_change_state",
        "class_maps() differ from call to call in eval()",
    ),
    "toy_forgetful": Mutant(
        "module.py",
        "self._drawn(_entropy(maps)).mean()",
        "self._drawn(_entropy(maps)).mean() * (setattr(self, 'steps', getattr(self, 'steps', 0) + 1) or self.steps)",
        "test_restored_in_the_middle_it_goes_on_with_the_same_losses",
        "some state is neither a buffer nor in a submodule",
    ),
    "toy_unsearched": Mutant(
        "space.toml",
        '[axes."loss.certainty"]',
        '[axes."train.weight_decay"]',
        "test_search_space_has_each_role_or_says_why_not",
        "no axis is a loss_weight",
    ),
    "toy_plain": Mutant(
        "__init__.py",
        '"train")),)',
        '"train"), plain_cam=True),)',
        "test_a_phase_that_says_it_is_plain_cam_is",
        "plain_cam, but its module is no CamClassifier",
    ),
    "toy_heavy": Mutant(
        "__init__.py",
        "from wsss_platform.method import Method, Phase\n",
        "from toy.module import ToyModule as ToyModule\nfrom wsss_platform.method import Method, Phase\n",
        "test_describing_it_imports_no_torch",
        "torch was imported",
    ),
}


def write(folder: Path, name: str = "toy", mutant: Mutant | None = None) -> None:
    """The toy as the document has it, or a copy with another name and a mistake."""
    for path, text in files().items():
        if mutant is not None and path == f"toy/{mutant.path}":
            assert text.count(mutant.old) == 1, f"{mutant.old!r} is not once in {path}"
            text = text.replace(mutant.old, mutant.new)
        for old, new in (("from toy", f"from {name}"), ('"toy.', f'"{name}.'), ('"toy"', f'"{name}"')):
            text = text.replace(old, new)
        target = folder / path.replace("toy", name)
        target.parent.mkdir(exist_ok=True)
        target.write_text(text)


def paths(folder: Path) -> str:
    """PYTHONPATH of somebody who has installed the platform and works in a folder."""
    installed = [str(Path(package.__file__).parents[1]) for package in (wsss_platform, wsss_methods)]
    return os.pathsep.join([str(folder), *installed])


def suite(folder: Path, chosen: str = "", marker: str = "") -> tuple[int, dict[str, dict[str, str]]]:
    """The exit status of pytest in a folder; package -> test -> "" where it passed, or what it said."""
    options = ["--strict-markers", "-W", "error", "-k", chosen, "-m", marker, "--junitxml=results.xml"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[str, dict[str, str]] = {}
    for case in ElementTree.parse(folder / "results.xml").iter("testcase"):
        wrong = [each.attrib["message"] for each in case if each.tag in ("failure", "error", "skipped")]
        package = case.attrib["classname"].split(".")[0].removeprefix("test_")
        found.setdefault(package, {})[case.attrib["name"]] = "".join(wrong)
    return done.returncode, found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What the suite says of each mutant."""
    folder = tmp_path_factory.mktemp("mutants")
    for name, mutant in MUTANTS.items():
        write(folder, name, mutant)
    status, found = suite(folder, " or ".join(f"(test_{name}.py and {each.check})" for name, each in MUTANTS.items()))
    assert status == 1
    return found


def test_the_document_holds_three_files_a_space_and_three_lines() -> None:
    assert list(files()) == ["toy/__init__.py", "toy/config.py", "toy/module.py", "toy/space.toml", "test_toy.py"]
    assert len(files()["test_toy.py"].split("\n\n")[0].splitlines()) + 1 == 3


def test_the_toy_passes_all_of_the_suite(tmp_path: Path) -> None:
    write(tmp_path)
    status, found = suite(tmp_path)
    assert set(found["toy"].values()) == {""}, found
    assert status == 0
    assert len(found["toy"]) == TESTS


@pytest.mark.slow
def test_where_there_is_a_marker_slow_two_checks_have_it(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow: takes long\n")
    _, found = suite(tmp_path, marker="slow")
    assert {test.split("[")[0] for test in found["toy"]} == set(SLOW)
    assert len(found["toy"]) == 2 * len(SLOW)


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mistake_is_found_and_told(found: dict[str, dict[str, str]], name: str) -> None:
    mutant, failed = MUTANTS[name], {test: said for test, said in found[name].items() if said}
    assert failed, f"{mutant.check} passes"
    assert all(test.startswith(mutant.check) for test in failed)
    first = next(iter(failed.values()))
    assert first.startswith(f"AssertionError: method '{name}'"), first
    assert mutant.said in first


def test_the_command_trains_and_searches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    monkeypatch.setenv("PYTHONPATH", paths(tmp_path))
    store = ["--storage", str(tmp_path / "store")]
    process("train", "toy:METHOD", "--until", "score", "--local", *TINY, "--set", "heads.width=8", *store)
    assert list((tmp_path / "store").rglob("*.parquet"))
    plan = document("tune", "toy:METHOD", *TINY, "--trials", "2", "--dry-run", *store, by=process)
    assert [axis["path"] for axis in plan["axes"]] == ["loss.certainty", "sampling.share"]


def test_without_pytest_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsss_platform.testing.HAS_PYTEST", False)
    with pytest.raises(InputError, match="needs pytest"):
        method_tests(object())  # type: ignore[arg-type]


def test_wrong_settings_are_told_where_they_are_written() -> None:
    with pytest.raises(InputError, match=r"tests of method 'fbr': unknown setting 'heads.projektion'.*projection"):
        method_tests(wsss_methods.get("fbr"), small={"heads.projektion": 8})
