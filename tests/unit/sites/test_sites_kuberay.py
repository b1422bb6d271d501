"""Kind kuberay without a cluster: the two objects, what the pods run of them, and the checks that need no server."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from wsss_platform.errors import InputError
from wsss_platform.sites import kuberay
from wsss_platform.sites.code import Code
from wsss_platform.sites.finding import find_site
from wsss_platform.sites.job import Job, new_id
from wsss_platform.sites.kuberay_fields import faults, fields
from wsss_platform.sites.kuberay_objects import LARGEST, UNPACK_SCRIPT, objects
from wsss_platform.sites.ray_script import STOPPING
from wsss_platform.sites.site import Site

ROOT = Path(__file__).parents[3]
Keys = tuple[str | int, ...]
KNOWN = {"$ref", "anyOf", "const", "enum", "type", "pattern", "minItems", "items", "properties", "required"}
KNOWN |= {"additionalProperties"}
"""Words of JSON Schema that the walker understands."""


@dataclasses.dataclass(frozen=True)
class OfBytes(Code):
    """Frozen code of a known size."""

    content: bytes = b""

    @property
    def python_path(self) -> tuple[str, ...]:
        return ("code/src",)

    def archive(self, files: dict[str, bytes] | None = None) -> bytes:
        return self.content


def site(**changes: Any) -> Site:
    made = {
        "kind": "kuberay",
        "storage": "/storage/results",
        "environment": {"image": "registry.example.org/wsss-platform:0.1.0"},
        "resources": {"nodes": 3, "gpus_per_node": 2, "cpus_per_node": 16, "memory_per_node": "64G"},
        "secrets": {"WANDB_API_KEY": "secret:wandb/key"},
    }
    return Site.model_validate({**made, **changes})


def job(command: tuple[str, ...] = ("train", "fbr"), code: Code | None = None, **changes: Any) -> Job:
    return Job("mine-1130-021955-3fa2", "mine", site(**changes), command, OfBytes(()) if code is None else code)


def errors(document: Any) -> list[str]:
    """By the strict check of tests/cluster/test_kuberay.py."""
    return [error.message for error in jsonschema.Draft202012Validator(fields()).iter_errors(document)]


def pods(ray_job: Any) -> list[Any]:
    cluster = ray_job["spec"]["rayClusterSpec"]
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


LITTLE = {"resources": {}, "secrets": {}}
MUCH = {
    "resources": {"gpus_per_node": 1, "time_limit": "1-00:00:30", "memory_per_node": "1T"},
    "kuberay": {"service_account": "wsss", "namespace": "vision", "claim": "shared", "mount": "/storage"},
    "variables": {"NOTE": "two\nlines: and 'quotes'"},
}


@pytest.mark.parametrize("changes", [{}, LITTLE, MUCH])
def test_the_objects_pass_the_strict_check(changes: dict[str, Any]) -> None:
    made = objects(job(**changes))
    assert errors(made.ray_job) == []
    assert faults(made.ray_job) == []
    assert next(iter(kuberay.check(job(**changes)))).state == "ok"
    assert {made.config_map["metadata"]["name"], made.ray_job["metadata"]["name"]} == {"mine-1130-021955-3fa2"}


def test_the_files_say_what_is_sent() -> None:
    made = objects(job(code=OfBytes((), content=b"12345")))
    config_map, ray_job = kuberay.files(job(code=OfBytes((), content=b"12345"))).values()
    assert yaml.safe_load(ray_job) == made.ray_job
    assert yaml.safe_load(config_map) == {name: of for name, of in made.config_map.items() if name != "binaryData"}
    assert base64.b64decode(made.config_map["binaryData"]["code.tar.gz"]) == b"12345"
    assert "*" not in ray_job
    assert "code.tar.gz" in config_map.splitlines()[0]


def test_what_the_site_says_is_in_the_objects() -> None:
    made = objects(job(**MUCH)).ray_job
    spec, head, worker = made["spec"], *pods(made)
    assert made["metadata"]["namespace"] == "vision"
    assert spec["activeDeadlineSeconds"] == 24 * 3600 + 30
    assert (spec["shutdownAfterJobFinishes"], spec["backoffLimit"]) == (True, 0)
    assert spec["entrypoint"] == "bash /storage/results/submissions/mine-1130-021955-3fa2/run.sh"
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert spec["rayClusterSpec"]["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    for pod in (head, worker):
        assert pod["serviceAccountName"] == "wsss"
        assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "shared"}
        assert pod["volumes"][1]["emptyDir"] == {"medium": "Memory"}
        for container in (*pod["containers"], *pod["initContainers"]):
            assert container["image"] == "registry.example.org/wsss-platform:0.1.0"
            assert {"name": "storage", "mountPath": "/storage"} in container["volumeMounts"]
    assert worker["containers"][0]["resources"]["limits"] == {"cpu": "1", "memory": "1048576Mi", "nvidia.com/gpu": 1}
    (group,) = objects(job()).ray_job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (3, 3, 3)
    little = objects(job(**LITTLE)).ray_job
    assert pods(little)[1]["containers"][0]["resources"]["limits"] == {"cpu": "1"}
    assert "activeDeadlineSeconds" not in little["spec"]


def expanded(value: str, variables: dict[str, str]) -> str:
    """What Kubernetes makes of a variable's value: $(NAME) is another variable, where there is one, and $$ is $."""
    found = re.compile(r"\$\$|\$\((\w+)\)")
    return found.sub(lambda each: "$" if each[0] == "$$" else variables.get(each[1], each[0]), value)


def test_variables_arrive_as_they_are_in_every_container_and_secrets_as_references() -> None:
    sent = job(variables={"NOTE": "$(WSSS_STORAGE) $$ $HOME"})
    assert sent.variables["PYTHONPATH"] == f"{sent.folder}/code/code/src"
    for pod in pods(objects(sent).ray_job):
        for container in (*pod["containers"], *pod["initContainers"]):
            values = {each["name"]: each["value"] for each in container["env"] if "value" in each}
            assert {name: expanded(value, sent.variables) for name, value in values.items()} == {
                **STOPPING,
                **sent.variables,
            }
        (ray,), (unpack,) = pod["containers"], pod["initContainers"]
        reference = {"name": "WANDB_API_KEY", "valueFrom": {"secretKeyRef": {"name": "wandb", "key": "key"}}}
        assert reference in ray["env"]
        assert "WANDB_API_KEY" not in json.dumps(unpack)
    assert "WANDB" not in sent.entry()


def field_paths(document: Any, path: Keys = ()) -> Iterator[Keys]:
    """Every key that the field list names, not the free keys of string maps."""
    free = {"rayStartParams", "limits", "labels"}
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        if isinstance(document, dict):
            yield (*path, key)
        if isinstance(value, dict | list) and key not in free:
            yield from field_paths(value, (*path, key))


def changed(document: Any, path: Keys, name: str | int, value: object = None) -> Any:
    """A copy with one field under another name, or with another value."""
    broken = holder = copy.deepcopy(document)
    for key in path[:-1]:
        holder = holder[key]
    content = holder.pop(path[-1]) if isinstance(path[-1], str) else holder[path[-1]]
    holder[name] = content if value is None else value
    return broken


def test_every_misspelt_field_is_found_and_named() -> None:
    made = objects(job(**MUCH)).ray_job
    paths = list(field_paths(made))
    assert len(paths) > 120
    for path in paths:
        broken = changed(made, path, f"{path[-1]}x")
        assert errors(broken)
        assert any(f"{path[-1]}x: KubeRay has no such field" in fault for fault in faults(broken)), path
    misspelt = faults(changed(made, ("spec", "rayClusterSpec", "authOptions"), "authOptoins"))
    assert misspelt == ["spec.rayClusterSpec.authOptoins: KubeRay has no such field; did you mean 'authOptions'?"]
    assert faults({**made, "spec": {}}) == ["spec.entrypoint: missing", "spec.rayClusterSpec: missing"]


WRONG = ["x", 1, True, {}, [], 1.5]


def test_the_walker_finds_what_the_json_schema_finds() -> None:
    made = objects(job(**MUCH)).ray_job
    for path in field_paths(made):
        for value in WRONG:
            broken = changed(made, path, path[-1], value)
            assert bool(faults(broken)) == bool(errors(broken)), (path, value)
    limits = next(path for path in field_paths(made) if path[-1] == "limits")
    (wrong,) = faults(changed(made, limits, "limits", {"memory": "64 G"}))
    assert wrong.endswith(".resources.limits.memory: '64 G' is none of what is allowed")
    assert faults(yaml.safe_load((ROOT / "cluster" / "kuberay" / "rayjob.yaml").read_text())) == []


def test_the_walker_knows_every_word_of_the_field_list() -> None:
    def words(schema: Any) -> Iterator[str]:
        assert isinstance(schema, dict)
        yield from schema
        for inner in (*schema.get("properties", {}).values(), *schema.get("anyOf", ())):
            yield from words(inner)
        for inner in (schema.get("items"), schema.get("additionalProperties")):
            yield from words(inner) if isinstance(inner, dict) else ()

    top = {"$schema", "source", "$defs"}
    assert {word for each in (fields(), *fields()["$defs"].values()) for word in words(each)} - top <= KNOWN


def test_code_beyond_a_config_map_is_refused_before_anything_is_sent() -> None:
    large = job(code=OfBytes((), content=b"x" * LARGEST))
    with pytest.raises(InputError, match="takes 102[56] KiB, and a ConfigMap holds 1024; commit less, or build the"):
        kuberay.submit(large)
    (only,) = kuberay.check(large)
    assert (only.what, only.state) == ("manifest", "wrong")
    objects(job(code=OfBytes((), content=b"x" * (LARGEST - 2048))))


def programs(folder: Path, **scripts: str) -> dict[str, str]:
    """An environment whose PATH begins with these programs."""
    folder.mkdir()
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def written(sent: Job, folder: Path) -> Path:
    """The ConfigMap as the kubelet mounts it: links to files of another folder."""
    made = objects(sent).config_map
    contents = {name: text.encode() for name, text in made["data"].items()}
    contents |= {name: base64.b64decode(text) for name, text in made["binaryData"].items()}
    (folder / "..data").mkdir(parents=True)
    for name, content in contents.items():
        (folder / "..data" / name).write_bytes(content)
        (folder / name).symlink_to(Path("..data", name))
    return folder


def in_folder(tmp_path: Path, command: tuple[str, ...] = ("train", "fbr")) -> Job:
    """A job with real files whose claim is the test's folder."""
    sent = job(command, code=Code(()), storage=f"{tmp_path}/claim/results", kuberay={"mount": f"{tmp_path}/claim"})
    return dataclasses.replace(sent, files={f"{place}.bin": os.urandom(30_000) for place in range(20)})


def test_pods_that_unpack_at_once_give_whole_files(tmp_path: Path) -> None:
    """All have found no folder before the first has unpacked, so that all but one lose the race for its name."""
    sent = in_folder(tmp_path)
    mounted = written(sent, tmp_path / "submission")
    late = programs(tmp_path / "bin", tar='sleep 0.5; PATH=${PATH#*:} exec tar "$@"')
    (unpack,) = pods(objects(sent).ray_job)[1]["initContainers"]
    command = [word.replace("/submission/", f"{mounted}/") for word in unpack["command"][:3]] + [str(mounted)]
    running = [subprocess.Popen(command, env=late, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=60)[1] for process in running]
    assert [process.returncode for process in running] == [0] * 4, said
    assert said == [""] * 4
    folder = Path(sent.folder)
    assert [path.name for path in folder.parent.iterdir()] == [sent.id]
    assert {path.name for path in folder.iterdir()} == {"files", "run.sh"}
    assert {path.name: path.read_bytes() for path in (folder / "files").iterdir()} == sent.files
    assert (folder / "run.sh").read_text() == sent.entry()
    inode = folder.stat().st_ino
    subprocess.run(command, check=True)  # a pod that starts again
    assert folder.stat().st_ino == inode


def test_a_broken_archive_leaves_nothing(tmp_path: Path) -> None:
    sent = in_folder(tmp_path)
    mounted = written(sent, tmp_path / "submission")
    archive = mounted / "..data" / "code.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-1000])
    done = subprocess.run(["bash", mounted / "unpack.sh", sent.folder, mounted], capture_output=True, text=True)
    assert done.returncode
    assert done.stderr
    assert list(Path(sent.folder).parent.iterdir()) == []


def test_the_script_passes_shellcheck(tmp_path: Path) -> None:
    checker = Path(sys.executable).with_name("shellcheck")
    if not checker.is_file():
        pytest.skip("no shellcheck")
    (tmp_path / "unpack.sh").write_text(UNPACK_SCRIPT)
    done = subprocess.run([checker, tmp_path / "unpack.sh"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_an_argument_arrives_as_it_is(tmp_path: Path) -> None:
    words = ("train", "fbr", "--set", "note=$(touch x) `touch x` 'a' \"b\" $HOME; touch x", "*")
    sent = in_folder(tmp_path, words)
    mounted = written(sent, tmp_path / "submission")
    subprocess.run(["bash", mounted / "unpack.sh", sent.folder, mounted], check=True)
    entrypoint = objects(sent).ray_job["spec"]["entrypoint"]
    python = programs(tmp_path / "bin", python='printf \'%s\\0\' "$@"; pwd; echo "$WSSS_SUBMISSION"')
    done = subprocess.run(["sh", "-c", entrypoint], env=python, capture_output=True, text=True, check=True)
    *arrived, rest = done.stdout.split("\0")
    assert arrived == ["-m", "wsss_platform.cli", *words]
    assert rest == f"{sent.folder}\n{sent.id}\n"
    assert not list(tmp_path.rglob("x"))


def test_the_shipped_site_makes_a_job() -> None:
    name, _, found = find_site("kuberay")
    sent = Job(new_id(name), name, found, ("tune", "fbr"), Code(()))
    assert faults(objects(sent).ray_job) == []
    assert found.environment.image == "registry.example.org/wsss-platform:0.1.0"


@pytest.mark.parametrize("name", ["kuberay", "3d-lab", "A very long name of a site indeed", "_"])
def test_an_id_is_a_name_that_kuberay_takes(name: str) -> None:
    """Of KubeRay's validation.go: a DNS-1035 label of at most 47 characters."""
    made = new_id(name)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", made)
    assert len(made) <= 47


def test_without_the_package_all_that_needs_a_server_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    manifest, *rest = kuberay.check(job())
    assert manifest.state == "ok"
    names = ["API server", "namespace", "KubeRay", "claim", "secret wandb", "dry run"]
    assert [check.what for check in rest] == names
    assert [check.what for check in kuberay.look(site())] == [*names[:-1], "GPUs"]
    for check in (*rest, *kuberay.look(site())):
        assert check.state == "skipped"
        assert "pip install 'wsss-platform[kubernetes]'" in check.said
    with pytest.raises(InputError, match="not installed"):
        kuberay.submit(job())
