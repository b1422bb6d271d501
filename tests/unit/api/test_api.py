"""The Python API as a whole: light to import, documented, and no module that hides a function."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import wsss_platform.api as wsss
from quick_runs import QUICK

FUNCTIONS = [name for name in wsss.__all__ if inspect.isfunction(getattr(wsss, name))]


def test_importing_is_light_and_quick() -> None:
    """A third of a second; the best of three, as the machine may be busy."""
    code = (
        "import time; start = time.perf_counter(); import wsss_platform.api; took = time.perf_counter() - start\n"
        "import sys, json; print(json.dumps([took, sorted({name.split('.')[0] for name in sys.modules})]))"
    )
    found = [
        json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
        for _ in range(3)
    ]
    assert not {"torch", "ray", "optuna", "wandb", "pydantic"} & set(found[0][1])
    assert min(took for took, _ in found) < 0.3


@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_reads_like_documentation(name: str) -> None:
    function = getattr(wsss, name)
    told = inspect.getdoc(function) or ""
    assert told.splitlines()[0].endswith((".", ":"))
    parameters = list(inspect.signature(function).parameters)
    explained = re.findall(r"^ +\*{0,2}([a-z_0-9]+): ", told, flags=re.MULTILINE)
    assert set(parameters) <= set(explained), sorted(set(parameters) - set(explained))
    assert "Raises:" in told or name in ("leaderboard",)


def test_the_functions_are_those_of_the_plan() -> None:
    promised = (
        "sample voc12 coco2014 open_data train maps masks score tune compare open_run leaderboard import_maps "
        "import_masks import_weights export convert_coco convert_labels write_sample"
    )
    assert set(promised.split()) <= set(FUNCTIONS)
    assert set(dir(wsss)) == set(wsss.__all__)
    with pytest.raises(AttributeError, match="trian"):
        _ = wsss.trian  # type: ignore[attr-defined]


def test_types_are_told() -> None:
    for name in ("train", "maps", "masks", "score", "open_run", "import_maps", "import_masks"):
        function = getattr(wsss, name)
        assert function.__annotations__["return"] == "Run"
    assert typing.get_type_hints(wsss.leaderboard)["return"] is wsss.Leaderboard


EVERYTHING = """
import importlib, pkgutil, sys
import wsss_platform, wsss_methods
for package in (wsss_platform, wsss_methods):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
import wsss_platform.api as wsss
from wsss_platform.errors import InputError

quick, given = {quick}, {{"storage": "storage", "progress": False}}
data = wsss.sample(train=8, val=4, size=48)
wsss.write_sample(data, "tree")
calls = {{
    "sample": lambda: wsss.sample(),
    "voc12": lambda: wsss.voc12("tree"),
    "coco2014": lambda: wsss.coco2014("tree"),
    "open_data": lambda: wsss.open_data("tree"),
    "train": lambda: wsss.train("cam", data, quick, until="score", name="one", **given),
    "maps": lambda: wsss.maps("one", **given),
    "masks": lambda: wsss.masks("one", **given),
    "score": lambda: wsss.score("one", **given),
    "score_rule": lambda: wsss.score_rule("one", storage="storage"),
    "score_difference": lambda: wsss.score_difference("one", "one", storage="storage"),
    "open_run": lambda: wsss.open_run("one", storage="storage"),
    "compare": lambda: wsss.compare(["cam"], data, quick, seeds=1, **given),
    "leaderboard": lambda: wsss.leaderboard("storage"),
    "export": lambda: wsss.export("one", "masks", **given),
}}
refused = {{
    "tune": lambda: wsss.tune("nothing"),
    "search": lambda: wsss.search("nothing"),
    "import_maps": lambda: wsss.import_maps("nowhere", "theirs", data, **given),
    "import_masks": lambda: wsss.import_masks("nowhere", "theirs", data, **given),
    "import_weights": lambda: wsss.import_weights("nowhere", "drs-classify", "out.pt"),
    "convert_coco": lambda: wsss.convert_coco("nowhere", "tree-of-coco"),
    "convert_labels": lambda: wsss.convert_labels("nowhere.npy", "labels.json"),
    "write_sample": lambda: wsss.write_sample(data, "tree"),  # is there
    "submit": lambda: wsss.submit("train cam", on="nowhere"),
    "open_submission": lambda: wsss.open_submission("nothing"),
}}
names = [name for name in wsss.__all__ if name[0].islower()]
for name in [*calls, *refused]:
    for _ in range(2):
        assert callable(getattr(wsss, name)), f"{{name}} is hidden by {{getattr(wsss, name)}}"
        if name in calls:
            calls[name]()
        elif name in refused:
            try:
                refused[name]()
            except InputError:
                continue
            raise AssertionError(name)
print(sorted(set(names) - set(calls) - set(refused)))
"""


@pytest.mark.slow
def test_no_module_hides_a_function(tmp_path: Path) -> None:
    """`wsss_platform.api.train` must stay the function when a module of that name, or any other, is imported."""
    code = EVERYTHING.format(quick=QUICK)
    environment = {**os.environ, "WSSS_WANDB": "disabled"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]", "functions that nobody calls here"
