"""What is checked before a job goes to Kubernetes: its manifest here, then what the API server says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from wsss_platform.errors import InputError, RunError, unknown
from wsss_platform.sites.job import Job
from wsss_platform.sites.kinds import Check
from wsss_platform.sites.kuberay_fields import faults
from wsss_platform.sites.kuberay_objects import GPU, Objects, objects, secrets_of
from wsss_platform.sites.kuberay_server import Forbidden, Missing, Server
from wsss_platform.sites.site import Site

Question = Callable[[Server], str]
"""Asks the server; what it found, or InputError with what is wrong."""
FIRST = ("API server", "namespace")
"""Where one of them is wrong, the rest is not asked."""


def checks_of_job(job: Job) -> Iterator[Check]:
    """Whether this job can be sent."""
    try:
        made = objects(job)
    except InputError as error:
        yield Check("manifest", "wrong", str(error))
        return
    wrong = faults(made.ray_job)
    fits = "the RayJob has only fields that KubeRay knows"
    yield Check("manifest", "wrong" if wrong else "ok", "; ".join(wrong) or fits)
    yield from _asked(job.site, {**_questions(job.site), "dry run": partial(_tried, made=made)})


def checks_of_site(site: Site) -> Iterator[Check]:
    """Whether the site can be used at all."""
    yield from _asked(site, {**_questions(site), "GPUs": partial(_gpus, site=site)})


def _questions(site: Site) -> dict[str, Question]:
    secrets = {name: [key for _, other, key in secrets_of(site) if other == name] for _, name, _ in secrets_of(site)}
    return {
        "API server": _version,
        "namespace": _namespace,
        "KubeRay": _kuberay,
        "claim": partial(_claim, name=site.kuberay.claim),
        **{f"secret {name}": partial(_secret, name=name, keys=keys) for name, keys in secrets.items()},
    }


def _asked(site: Site, questions: dict[str, Question]) -> Iterator[Check]:
    try:
        server = Server(site)
    except InputError as error:
        yield from (Check(what, "skipped", str(error)) for what in questions)
        return
    why = ""
    for what, question in questions.items():
        check = Check(what, "skipped", why) if why else _answer(server, what, question)
        if what in FIRST and check.state == "wrong":
            why = f"not asked: {what} is wrong"
        elif what == FIRST[0] and check.state == "skipped":
            why = check.said
        yield check


def _answer(server: Server, what: str, question: Question) -> Check:
    try:
        return Check(what, "ok", question(server))
    except Forbidden as error:  # a job may run although this person may not read what it uses
        return Check(what, "wrong" if what == "dry run" else "skipped", str(error))
    except RunError as error:
        return Check(what, "skipped", str(error))
    except InputError as error:
        return Check(what, "wrong", str(error))


def _version(server: Server) -> str:
    found = server.ask(server.version.get_code)
    return f"{server.host} ({server.context}): Kubernetes {found.get('gitVersion', 'of unknown version')}"


def _namespace(server: Server) -> str:
    name = server.namespace
    try:
        server.ask(server.core.read_namespace, name)
    except Missing:
        try:
            known = [each["metadata"]["name"] for each in server.ask(server.core.list_namespace)["items"]]
        except Forbidden:
            known = []
        raise unknown("namespace (kuberay.namespace)", name, known, "kuberay.namespace") from None
    return name


def _kuberay(server: Server) -> str:
    """From the list of what the server knows, which everybody may read."""
    try:
        found = server.ask(server.custom.get_api_resources, "ray.io", "v1")
    except Missing:
        found = {}
    if "RayJob" not in {each.get("kind") for each in found.get("resources", [])}:
        raise InputError("KubeRay is not installed: the server knows no RayJob (ray.io/v1); install 1.5.1 or newer")
    return "RayJob (ray.io/v1) is known"


def _claim(server: Server, name: str) -> str:
    found = server.ask(server.core.list_namespaced_persistent_volume_claim, server.namespace)["items"]
    claims = {each["metadata"]["name"]: each for each in found}
    if name not in claims:
        raise unknown(f"claim in namespace {server.namespace} (kuberay.claim)", name, claims, "kuberay.claim")
    modes = claims[name].get("spec", {}).get("accessModes", [])
    if "ReadWriteMany" not in modes:
        raise InputError(
            f"claim {name}: access modes {', '.join(modes)}; expected ReadWriteMany, as pods of several nodes write",
            field="kuberay.claim",
        )
    return f"{name}: ReadWriteMany, {claims[name].get('status', {}).get('phase', 'unknown')}"


def _secret(server: Server, name: str, keys: list[str]) -> str:
    """Only its keys are used; no value is kept."""
    try:
        known = list(server.ask(server.core.read_namespaced_secret, name, server.namespace).get("data") or {})
    except Missing:
        raise InputError(
            f"secret {name}: not in namespace {server.namespace}; expected one with {', '.join(keys)}", field="secrets"
        ) from None
    for key in keys:
        if key not in known:
            raise unknown(f"key of secret {name}", key, known, "secrets")
    return f"has {', '.join(keys)}"


def _tried(server: Server, made: Objects) -> str:
    server.try_out(made)
    return "the server would take both objects"


def _gpus(server: Server, site: Site) -> str:
    wanted = site.resources.gpus_per_node
    nodes = server.ask(server.core.list_node)["items"]
    counts = [int(node.get("status", {}).get("allocatable", {}).get(GPU, 0)) for node in nodes]
    enough = [count for count in counts if count >= max(wanted, 1)]
    if wanted and not enough:
        raise InputError(
            f"no node has {wanted} {GPU} (the most is {max(counts, default=0)}); expected one, unless nodes are added "
            "on demand",
            field="resources.gpus_per_node",
        )
    return f"{sum(count > 0 for count in counts)} of {len(counts)} nodes have {GPU}, {sum(counts)} in all"
