"""cluster/Dockerfile: its lock names what CI has, each with a hash, and its commands work in a fresh environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS = ("search", "postgres")


def name_of(requirement: str) -> str:
    return re.split(r"[\[<>=;! ]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def locked() -> dict[str, tuple[str, list[str]]]:
    """Each package of image.lock: its version and its hashes."""
    text = (ROOT / "cluster/image.lock").read_text()
    entries = re.findall(r"^([\w.-]+)==(\S+)((?: \\\n +--hash=sha256:[0-9a-f]{64})*)", text, flags=re.M)
    found = {name: (version, hashes.split("\\\n")[1:]) for name, version, hashes in entries}
    assert len(found) == len(re.findall("==", text)), "a line that this test does not understand"
    return found


def commands() -> list[str]:
    """The lines of RUN that need neither root nor Debian, as the image runs them."""
    runs = re.findall(r"^RUN (.+)$", (ROOT / "cluster/Dockerfile").read_text(), flags=re.M)
    return [each for each in runs if each.startswith(("python ", "wsss-platform "))]


def test_the_lock_has_the_versions_of_ci_and_a_hash_for_each() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    ci = dict(line.split("==") for line in lines if not line.startswith("#"))
    ci = {name_of(name): version for name, version in ci.items()}
    for name, (version, hashes) in locked().items():
        assert ci[name] == version, f"{name}: make lock"
        assert hashes, name


def test_the_lock_has_all_that_the_platform_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *(each for name in EXTRAS for each in project["optional-dependencies"][name])]
    assert {name_of(each) for each in needed} <= set(locked())


def test_pip_takes_nothing_without_a_hash() -> None:
    installs = [each for each in commands() if " install " in each]
    assert len(installs) == 2
    assert "--require-hashes --requirement /tmp/image.lock" in installs[0]
    assert "--no-deps /tmp/wsss_platform-" in installs[1]


@pytest.mark.drill
def test_the_commands_work_in_a_fresh_environment(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, cwd=tmp_path, timeout=600)
    shutil.copy(ROOT / "cluster/image.lock", tmp_path)
    venv.create(tmp_path / "image", with_pip=True)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RAY_", "VIRTUAL"))
    }
    environment |= {"PATH": f"{tmp_path / 'image/bin'}:{environment['PATH']}"}
    for command in commands():
        here = command.replace("/tmp/", f"{tmp_path}/").replace(" --no-cache-dir", "")
        done = subprocess.run(
            ["bash", "-c", here], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1800
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    assert re.fullmatch(r"wsss-platform \d+\.\d+\.\S+\n", done.stdout), done.stdout
