"""Kind kuberay: a job is a ConfigMap with its code and a RayJob, which the KubeRay operator (1.5.1 or newer) runs.

The operator makes a Ray cluster of pods, submits the command from a pod of its own, and ends the cluster afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import yaml

from wsss_platform.errors import RunError
from wsss_platform.sites.job import ARCHIVE, Job
from wsss_platform.sites.kinds import Check
from wsss_platform.sites.kuberay_checks import checks_of_job, checks_of_site
from wsss_platform.sites.kuberay_objects import LABEL, Object, objects
from wsss_platform.sites.kuberay_server import Forbidden, Missing, Server
from wsss_platform.sites.ledger import Sent, State, Status
from wsss_platform.sites.site import Site

POLL_SECONDS = 3.0
"""Between two questions about a job whose log is followed."""
SUBMITTER = "ray-job-submitter"
"""KubeRay's name of the container that submits the command and prints its output."""
_STARTING = ("ContainerCreating", "PodInitializing")
_SHOWN = 300


def files(job: Job) -> dict[str, str]:
    """Both objects as YAML, the code's archive left out."""
    made = objects(job)
    config_map = {name: content for name, content in made.config_map.items() if name != "binaryData"}
    kib = len(made.config_map["binaryData"][ARCHIVE]) * 3 / 4 / 1024
    return {
        f"configmap/{job.id}": f"# binaryData: {ARCHIVE}, {kib:.0f} KiB, left out here\n{_yaml(config_map)}",
        f"rayjob/{job.id}": _yaml(made.ray_job),
    }


def commands(job: Job) -> list[str]:
    """The three requests to the API server."""
    where = f"in namespace {job.site.kuberay.namespace}"
    return [
        f"create ConfigMap {job.id} {where}",
        f"create RayJob {job.id} {where}",
        f"patch ConfigMap {job.id} {where}: it belongs to the RayJob and goes with it",
    ]


def check(job: Job) -> Iterator[Check]:
    """The manifest; then, where an API server answers, what it names there and whether the server would take it."""
    return checks_of_job(job)


def look(site: Site) -> Iterator[Check]:
    """The same without a job, and whether nodes have GPUs."""
    return checks_of_site(site)


def submit(job: Job) -> str:
    """Make both objects; the RayJob's name."""
    made = objects(job)
    Server(job.site).create(made)
    return job.id


def status(sent: Sent) -> Status:
    """From the RayJob; of one that waits also what its pods wait for."""
    return _status(Server(sent.site), sent)


def logs(sent: Sent, follow: bool) -> Iterator[str]:
    """Lines of the pod that submits the command, or before there is one of the head.

    With `follow` a connection that breaks is made again, and no line comes twice. Where KubeRay replaces that pod, the
    new one prints the output from its beginning.

    Raises:
        InputError: the server refuses it.
        RunError: the server does not answer, or there is no output yet (without `follow`).
    """
    server = Server(sent.site)
    read_until: dict[str, str] = {}
    while True:
        now = _status(server, sent)  # before the log is read, so that the last words are not missed
        running = now.state in ("queued", "running")
        source = _speaker(server, sent, head=not follow)
        if source is None and not follow:
            raise RunError(f"{sent.id}: no output yet ({now.said})")
        if source is not None:
            pod, container = source
            before = read_until.get(pod, "")
            for stamp, line in server.log(pod, container, follow):
                if stamp > before:
                    read_until[pod] = stamp
                    yield line
        if not (follow and running):
            return
        time.sleep(POLL_SECONDS)


def cancel(sent: Sent) -> None:
    """Delete the RayJob of a job that waits or runs; its pods, code and log go with it.

    A suspended RayJob would stay and could be asked about, but KubeRay suspends by killing the pods, and a queue such
    as Kueue starts it again. For a deleted one KubeRay first asks Ray to stop the command. A job that has ended keeps
    its RayJob, for status and logs.
    """
    server = Server(sent.site)
    if _status(server, sent).state in ("queued", "running"):
        with suppress(Missing):
            server.delete(sent.handle)


def _status(server: Server, sent: Sent) -> Status:
    try:
        job = server.ray_job(sent.handle)
    except Missing as error:
        return Status(id=sent.id, state="unknown", said=f"{error}: cancelled, or removed after its end")
    state, said = state_of(job)
    if state == "queued":
        with suppress(Forbidden):  # who may not read pods has the rest
            pods = [*server.pods(f"{LABEL}={sent.id}"), *server.pods(f"job-name={sent.handle}")]
            said = next((f"{said}; {why}" for why in map(waits_for, pods) if why), said)
    return Status(id=sent.id, state=state, said=said)


def state_of(job: Object) -> tuple[State, str]:
    """Of a RayJob: ours, and KubeRay's own words in one line."""
    found = job.get("status", {})
    ray, deployed = found.get("jobStatus", ""), found.get("jobDeploymentStatus", "")
    said = " ".join(f"{deployed or 'New'} {ray}".split())
    why = _line(": ".join(filter(None, (found.get("reason"), found.get("message")))))
    said = f"{said}: {why}" if why else said
    if job["metadata"].get("deletionTimestamp"):
        return "cancelled", f"{said}; it is being deleted"
    if deployed in ("Failed", "ValidationFailed") or ray == "FAILED":
        return "failed", said
    if ray == "SUCCEEDED":
        return "finished", said
    if ray == "STOPPED":
        return "cancelled", said
    if deployed == "Complete":  # ended, and Ray did not say how
        return "unknown", said
    return ("running" if ray == "RUNNING" and deployed == "Running" else "queued"), said


def waits_for(pod: Object) -> str:
    """What keeps a pod from running, in one line, such as an image that cannot be pulled; "": nothing."""
    name, found = pod["metadata"]["name"], pod.get("status", {})
    for container in [*found.get("initContainerStatuses", []), *found.get("containerStatuses", [])]:
        state = {**container.get("lastState", {}), **container.get("state", {})}
        waiting, ended = state.get("waiting", {}), state.get("terminated", {})
        reason = "" if waiting.get("reason") in _STARTING else waiting.get("reason", "")
        if reason or ended.get("exitCode"):
            words = ended.get("message") or waiting.get("message", "")
            return _line(f"pod {name}, container {container['name']}: {reason or ended.get('reason')}: {words}")
    for condition in found.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _line(f"pod {name}: no node has room for it: {condition.get('message', '')}")
    return ""


def _speaker(server: Server, sent: Sent, head: bool) -> tuple[str, str] | None:
    """(pod, container) whose output to read: the newest that submits the command, else the head, where it is wanted."""
    selectors = {SUBMITTER: f"job-name={sent.handle}"}
    if head:
        selectors["ray-head"] = f"{LABEL}={sent.id},ray.io/node-type=head"
    for container, selector in selectors.items():
        started = [pod for pod in server.pods(selector) if pod.get("status", {}).get("phase") != "Pending"]
        if started:
            return started[-1]["metadata"]["name"], container
    return None


def _line(text: str) -> str:
    return " ".join(text.split())[:_SHOWN].removesuffix(":")


class _Plain(yaml.SafeDumper):
    """Without YAML's references to what was said before: a person reads it."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Plain.add_representer(str, _text)


def _yaml(document: Object) -> str:
    return yaml.dump(document, Dumper=_Plain, sort_keys=False, width=120)
