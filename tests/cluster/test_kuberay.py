"""`cluster/kuberay/rayjob.yaml` against the fields of KubeRay's CRD, made strict so that a typo is seen offline."""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "cluster" / "kuberay" / "rayjob_crd_fields.json").read_text(encoding="utf-8"))
Keys = tuple[str | int, ...]


@pytest.fixture
def job() -> Any:
    return yaml.safe_load((ROOT / "cluster" / "kuberay" / "rayjob.yaml").read_text(encoding="utf-8"))


def errors(document: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def field_paths(document: Any, path: Keys = ()) -> Iterator[Keys]:
    """Every mapping key of a document that the CRD names (not the free keys of string maps)."""
    free = {"rayStartParams", "limits", "requests", "annotations", "labels", "nodeSelector"}
    pairs = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in pairs:
        if isinstance(document, dict):
            yield (*path, key)
        if isinstance(value, dict | list) and key not in free:
            yield from field_paths(value, (*path, key))


def parent(document: Any, path: Keys) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document


def test_the_schema_is_a_legal_and_strict_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    loose = [
        path
        for path, node in walk(SCHEMA)
        if isinstance(node, dict) and "properties" in node and node.get("type") == "object"
        if node.get("additionalProperties") is not False
    ]
    assert not loose


def walk(node: Any, path: str = "$") -> Iterator[tuple[str, Any]]:
    yield path, node
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield from walk(value, f"{path}.{key}")


def test_the_manifest_fits_the_crd(job: Any) -> None:
    assert errors(job) == []


def test_every_misspelt_field_is_caught(job: Any) -> None:
    paths = list(field_paths(job))
    assert len(paths) > 60
    for path in paths:
        broken = copy.deepcopy(job)
        holder = parent(broken, path)
        holder[f"{path[-1]}x"] = holder.pop(path[-1])
        assert errors(broken), f"a misspelt {'.'.join(map(str, path))} was not noticed"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "rayClusterSpec", "authOptions", "mode"), "tokens"),
        (("spec", "shutdownAfterJobFinishes"), "true"),
        (("spec", "rayClusterSpec", "rayVersion"), 2.6),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "maxReplicas"), "2"),
    ],
)
def test_wrong_values_are_caught(job: Any, path: Keys, value: object) -> None:
    parent(job, path)[path[-1]] = value
    assert errors(job)


def test_it_runs_our_command_on_our_ray_with_authentication(job: Any) -> None:
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    assert shlex.split(spec["entrypoint"])[0] == "wsss-platform"
    assert spec["shutdownAfterJobFinishes"] is True
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == version("ray")
    (worker,) = cluster["workerGroupSpecs"]
    pods = [group["template"]["spec"] for group in (cluster["headGroupSpec"], worker)]
    for pod in pods:
        (container,) = pod["containers"]
        settings = {item["name"]: item for item in container["env"]}
        assert "value" not in settings["WANDB_API_KEY"]  # never in the file, only from the secret
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert settings["WSSS_STORAGE"]["value"].startswith("/storage/")
    assert pods[1]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] >= 1
