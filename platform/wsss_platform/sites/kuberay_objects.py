"""The two Kubernetes objects of a job, as plain dicts: a ConfigMap with its code, and a RayJob that runs it.

Both have the job's id as name. Each pod unpacks the code into the job's folder on the claim before Ray starts there.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

from wsss_platform.errors import InputError
from wsss_platform.sites.job import ARCHIVE, ENTRY, Job
from wsss_platform.sites.ray_script import STOPPING
from wsss_platform.sites.site import REFERENCE, Site, mebibytes, seconds

Object = dict[str, Any]
"""A Kubernetes object, or a part of one."""
LABEL = "wsss-platform/submission"
"""On all that a job makes: its id."""
GPU = "nvidia.com/gpu"
HEAD = {"cpu": "4", "memory": "16Gi"}
"""What the head gets: Ray's own processes and the command, which hands all training to the workers."""
LARGEST = 1024 * 1024
"""Bytes that Kubernetes allows in a ConfigMap."""
AFTER = 60
"""Seconds that a finished job keeps its nodes, for Ray's dashboard; its log stays longer, in the submitter's pod."""
UNPACK = "unpack.sh"
_SENT = "/submission"
"""Where the ConfigMap is mounted."""

UNPACK_SCRIPT = """\
#!/bin/bash
# unpack.sh FOLDER FROM: the archive and the script of FROM into FOLDER, whole or not at all. Several pods do it at
# once: each unpacks beside the folder, and the first to rename has made it.
set -euo pipefail
folder=$1 from=$2
[[ ! -e "$folder" ]] || exit 0
mkdir -p -- "${folder%/*}"
part=$(mktemp -d -- "$folder.XXXXXX")
trap 'rm -rf -- "$part"' EXIT
tar --no-same-owner -xzf "$from/code.tar.gz" -C "$part"
cp -- "$from/run.sh" "$part/run.sh"
said=$(mv -T -- "$part" "$folder" 2>&1) || [[ -f "$folder/run.sh" ]] || {
    echo "$said" >&2
    exit 1
}
"""


class Objects(NamedTuple):
    """What is sent."""

    config_map: Object
    ray_job: Object


def objects(job: Job) -> Objects:
    """Both objects of a job, without the owner of the ConfigMap, which is the RayJob once it exists.

    Raises:
        InputError: the code is larger than a ConfigMap may be.
    """
    archive, scripts = job.archive(), {ENTRY: job.entry(), UNPACK: UNPACK_SCRIPT}
    size = len(archive) + sum(len(text.encode()) for text in scripts.values())
    if size > LARGEST:
        raise InputError(
            f"{ARCHIVE}: the code of this job takes {size / 1024:.0f} KiB, and a ConfigMap holds {LARGEST // 1024}; "
            "commit less, or build the code into the image (environment.image) and submit from outside its checkout",
            field=ARCHIVE,
        )
    labels = {LABEL: job.id}
    metadata = {"name": job.id, "namespace": job.site.kuberay.namespace, "labels": labels}
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "immutable": True,  # a pod that starts later runs the same code
        "data": scripts,
        "binaryData": {ARCHIVE: base64.b64encode(archive).decode("ascii")},
    }
    limit = seconds(job.site.resources.time_limit)
    spec = {
        "entrypoint": shlex.join(["bash", f"{job.folder}/{ENTRY}"]),
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": AFTER,
        "backoffLimit": 0,  # the same command resumes; a retry is the user's choice
        **({} if limit is None else {"activeDeadlineSeconds": limit}),
        "rayClusterSpec": _cluster(job, labels),
    }
    return Objects(config_map, {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": spec})


def _cluster(job: Job, labels: Mapping[str, str]) -> Object:
    nodes = job.site.resources.nodes
    ports = [{"containerPort": 6379, "name": "gcs-server"}, {"containerPort": 8265, "name": "dashboard"}]
    workers = {
        "groupName": "workers",
        "replicas": nodes,
        "minReplicas": nodes,
        "maxReplicas": nodes,
        "rayStartParams": {},
        "template": _template(job, labels, {"name": "ray-worker", "resources": {"limits": _worker_limits(job.site)}}),
    }
    head = {
        "rayStartParams": {"num-cpus": "0"},  # nothing is trained on the head, so that its memory is Ray's
        "template": _template(job, labels, {"name": "ray-head", "ports": ports, "resources": {"limits": {**HEAD}}}),
    }
    return {
        "rayVersion": version("ray"),  # authOptions need one; what runs is the image's
        "authOptions": {"mode": "token"},
        "headGroupSpec": head,
        "workerGroupSpecs": [workers],
    }


def _worker_limits(site: Site) -> Object:
    resources, memory = site.resources, mebibytes(site.resources.memory_per_node)
    limits: Object = {"cpu": str(resources.cpus_per_node)}
    if memory is not None:
        limits["memory"] = f"{memory}Mi"
    if resources.gpus_per_node:
        limits[GPU] = resources.gpus_per_node
    return limits


def _template(job: Job, labels: Mapping[str, str], ray: Object) -> Object:
    """A pod whose Ray container has these further fields."""
    site = job.site
    storage = {"name": "storage", "mountPath": site.kuberay.mount}
    unpack = {
        "name": "code",
        "image": site.environment.image,
        "command": ["bash", f"{_SENT}/{UNPACK}", job.folder, _SENT],
        "env": _variables(job),  # and no secret, which unpacking does not need
        "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}},  # a namespace with a quota wants some
        "terminationMessagePolicy": "FallbackToLogsOnError",  # so that `status` has its words
        "volumeMounts": [storage, {"name": "submission", "mountPath": _SENT, "readOnly": True}],
    }
    ray = {
        **ray,
        "image": site.environment.image,
        "env": [*_variables(job), *_secrets(site)],
        "volumeMounts": [storage, {"name": "shared-memory", "mountPath": "/dev/shm"}],  # noqa: S108 (in the pod)
    }
    account = site.kuberay.service_account
    return {
        "metadata": {"labels": dict(labels)},
        "spec": {
            **({"serviceAccountName": account} if account else {}),
            "initContainers": [unpack],
            "containers": [ray],
            "volumes": [
                {"name": "storage", "persistentVolumeClaim": {"claimName": site.kuberay.claim}},
                # Ray's objects and the loaders' batches; without a limit of its own it may grow to the pod's memory
                {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
                {"name": "submission", "configMap": {"name": job.id}},
            ],
        },
    }


def _variables(job: Job) -> list[Object]:
    """Kubernetes puts other variables in place of $(NAME) in a value; $$ is a plain $."""
    return [{"name": name, "value": value.replace("$", "$$")} for name, value in {**STOPPING, **job.variables}.items()]


def secrets_of(site: Site) -> list[tuple[str, str, str]]:
    """(variable, name of the secret, key in it)."""
    found = ((variable, REFERENCE.fullmatch(where)) for variable, where in site.secrets.items())
    return [(variable, each["secret"], each["key"]) for variable, each in found if each is not None]


def _secrets(site: Site) -> list[Object]:
    return [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
        for variable, name, key in secrets_of(site)
    ]
