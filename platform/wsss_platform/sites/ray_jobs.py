"""Kind `ray`: a cluster that is running, through Ray's Jobs API.

What goes up is a folder with two files: the frozen code and `start.sh`. On the head that script unpacks the code into
the job's folder on the shared storage, so that the workers of all nodes see it, and runs the command there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from wsss_platform.errors import InputError, RunError
from wsss_platform.sites.job import ARCHIVE, ENTRY, Job
from wsss_platform.sites.kinds import Check
from wsss_platform.sites.ledger import Sent, State, Status
from wsss_platform.sites.ray_script import START, start, worker_variables
from wsss_platform.sites.site import Site

STATES: dict[str, State] = {
    "PENDING": "queued",
    "RUNNING": "running",
    "SUCCEEDED": "finished",
    "FAILED": "failed",
    "STOPPED": "cancelled",
}
"""Ray's words for a job -> ours."""
SECONDS = 5
"""An answer of the dashboard may take so long in a check."""
PATIENCE, PAUSE = 60.0, 1.0
"""Seconds: for how long, and how often, a cluster that takes no job yet is asked again."""
NO_AGENT = "No available agent"
_ELSEWHERE = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")


def files(job: Job) -> dict[str, str]:
    """`start.sh`, which goes up beside the archive, and what it writes."""
    return {START: start(job), f"{job.folder}/{ENTRY}": job.entry()}


def commands(job: Job) -> list[str]:
    """The call of the Jobs API, as the command that would do the same."""
    options = {
        "--address": job.site.ray.address,
        "--submission-id": job.id,
        "--entrypoint-num-cpus": "0",
        "--working-dir": ".",
        "--runtime-env-json": json.dumps({"env_vars": worker_variables(job)}),
        "--metadata-json": json.dumps(metadata(job)),
    }
    words = [word for option in options.items() for word in option]
    said = shlex.join(["ray", "job", "submit", *words, "--no-wait", "--", "bash", START])
    return [f"{said}  # in a folder with {ARCHIVE} and {START}"]


def check(job: Job) -> Iterator[Check]:
    """The site, and whether the job's id is free."""
    found = list(look(job.site))
    yield from found
    if Check("address", "ok", job.site.ray.address) not in found:
        yield Check("job id", "skipped", "the cluster does not answer")
    elif _get(job.site, f"/api/jobs/{job.id}") is None:
        yield Check("job id", "ok", job.id)
    else:
        yield Check("job id", "wrong", f"{job.id}: the cluster has a job of this id; submit again for another one")


def look(site: Site) -> Iterator[Check]:
    """Environment and variables, the address, versions here and there, and what the cluster's nodes have."""
    yield from settled(site, {"lock", "image"})
    try:
        ray = _version(site)
        python = (_get(site, "/api/v0/cluster_metadata") or {}).get("data", {}).get("pythonVersion", "")
        nodes = _get(site, "/api/v0/nodes?limit=10000")
    except InputError as error:
        yield Check("address", "wrong", str(error))
    except RunError as error:
        yield Check("address", "skipped", str(error))
    else:
        yield Check("address", "ok", site.ray.address)
        yield from _versions(ray, python)
        yield _resources(site, nodes)


def submit(job: Job) -> str:
    """Send code and command; the job's id is Ray's, too.

    Raises:
        InputError: the site file is wrong for this kind, the token is refused, or the cluster refuses the job.
        RunError: nobody answers at the address, or the cluster takes no job yet.
    """
    refuse(settled(job.site, {"lock", "image"}))
    with TemporaryDirectory(prefix="wsss-") as folder:
        (Path(folder) / ARCHIVE).write_bytes(job.archive())
        (Path(folder) / START).write_text(start(job), encoding="utf-8")
        with _client(job.site) as client:
            return _handed_over(
                client,
                job.site.ray.address,
                entrypoint=f"bash {START}",
                submission_id=job.id,
                runtime_env={"working_dir": folder, "env_vars": worker_variables(job)},
                metadata=metadata(job),
                entrypoint_num_cpus=0,
            )


def status(sent: Sent) -> Status:
    """How it does; "unknown" where the cluster has forgotten it."""
    with _client(sent.site) as client:
        job = _job(client, sent.handle)
    if job is None:
        return forgotten(sent)
    said = job.message or str(job.status)
    if job.driver_exit_code:
        said = f"exit code {job.driver_exit_code}"  # the message has the last lines of the log, too
    return Status(id=sent.id, state=STATES.get(str(job.status), "unknown"), said=last_line(said))


def logs(sent: Sent, follow: bool) -> Iterator[str]:
    """Lines of its output.

    Raises:
        InputError: the cluster has forgotten it.
        RunError: nobody answers, or the connection is lost before the job ends.
    """
    with _client(sent.site) as client:
        if _job(client, sent.handle) is None:
            raise InputError(f"{sent.id}: {forgotten(sent).said}")
        yield from lines(_tail(client, sent.handle) if follow else [client.get_job_logs(sent.handle)])
        if follow and (job := _job(client, sent.handle)) is not None and not job.status.is_terminal():
            raise RunError(f"{sent.id}: the connection to {sent.site.ray.address} was lost; the job goes on")


def cancel(sent: Sent) -> None:
    """Ask Ray to end it: first as Ctrl-C does, after a minute by force."""
    with _client(sent.site) as client:
        if _job(client, sent.handle) is not None:
            client.stop_job(sent.handle)


def metadata(job: Job) -> dict[str, str]:
    """What the cluster's list of jobs shows beside the id."""
    return {"site": job.site_name, "commit": job.code.commit or "none"}


def settled(site: Site, refused: set[str]) -> Iterator[Check]:
    """What the site file says of environment and variables, for a cluster that has its environment.

    Args:
        site: the site.
        refused: settings of [environment] that are not of its kind.
    """
    given = [name for name in sorted(refused) if getattr(site.environment, name) is not None]
    for name in given:
        wanted = "expected environment.venv, the one that Ray itself runs in, or nothing"
        yield Check("environment", "wrong", f"environment.{name}: a cluster of kind {site.kind} has its own; {wanted}")
    if not given:
        yield Check("environment", "ok", site.environment.venv or "what the head has on its PATH")
    for name, value in site.variables.items():
        if "$" in value:
            yield Check("variables", "wrong", f"variables.{name}: Ray replaces $ in it; expected a value without $")


def refuse(checks: Iterable[Check]) -> None:
    """Raise the first wrong one.

    Raises:
        InputError: there is one.
    """
    for found in checks:
        if found.state == "wrong":
            raise InputError(found.said, field=found.said.partition(":")[0])


def forgotten(sent: Sent) -> Status:
    """Of a job that the cluster does not know."""
    said = "the cluster does not know it any more (a new head?); what it stored stays; to go on, submit it again"
    return Status(id=sent.id, state="unknown", said=said)


def _handed_over(client: Any, address: str | None, **asked: Any) -> str:
    """The id of the job. A cluster that has just started answers for some seconds that no agent is there yet."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            handle: str = client.submit_job(**asked)
            return handle
        except (RuntimeError, ValueError) as error:
            said = last_line(str(error))
            if NO_AGENT not in str(error):
                raise InputError(f"{address} refuses the job: {said}") from None
            if time.monotonic() > until:
                raise RunError(f"{address} takes no job yet: {said}") from None
        time.sleep(PAUSE)


def last_line(text: str) -> str:
    """The last line with something on it: where the reason stands in a traceback."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip(" .")), "no reason given")


def lines(chunks: Iterable[str]) -> Iterator[str]:
    """Whole lines of a text that comes in pieces, each with its line end."""
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split("\n")
        yield from (f"{line}\n" for line in whole)
    if rest:
        yield f"{rest}\n"


def _versions(ray_there: str, python_there: str) -> Iterator[Check]:
    import ray

    python_here = ".".join(map(str, sys.version_info[:3]))
    for name, there, here in (("Ray", ray_there, ray.__version__), ("Python", python_there, python_here)):
        if not there:
            yield Check(name, "skipped", "the cluster does not say its version")
        elif there.split(".")[:2] == here.split(".")[:2]:
            yield Check(name, "ok", f"{there} there, {here} here")
        else:
            yield Check(name, "wrong", f"{there} there, {here} here; expected the same major.minor on both sides")


def _resources(site: Site, listed: Any) -> Check:
    """Whether so many nodes of the cluster have what each node of a job gets, busy or not."""
    if listed is None:
        return Check("resources", "skipped", "the cluster does not list its nodes")
    wanted = site.resources
    nodes = [node["resources_total"] for node in listed["data"]["result"]["result"] if node["state"] == "ALIVE"]
    cpus, gpus = ([node.get(name, 0) for node in nodes] for name in ("CPU", "GPU"))
    fit = sum(cpu >= wanted.cpus_per_node and gpu >= wanted.gpus_per_node for cpu, gpu in zip(cpus, gpus, strict=True))
    said = (
        f"{fit} of {len(nodes)} nodes have {wanted.cpus_per_node} CPUs and {wanted.gpus_per_node} GPUs each "
        f"(in all {sum(cpus):g} CPUs and {sum(gpus):g} GPUs)"
    )
    if fit >= wanted.nodes:
        return Check("resources", "ok", said)
    return Check("resources", "wrong", f"{said}; the job asks for {wanted.nodes}: ask for less, or start nodes")


def _version(site: Site) -> str:
    """Of the cluster's Ray; the errors of `_get`."""
    found = _get(site, "/api/version")
    if found is None or "ray_version" not in found:
        raise _foreign(site)
    return str(found["ray_version"])


def _get(site: Site, path: str) -> Any:
    """What the dashboard answers; None where it has nothing of that path.

    Raises:
        InputError: the token is refused.
        RunError: no answer in time, or none of a Ray dashboard.
    """
    request = Request(site.ray.address.rstrip("/") + path)  # noqa: S310 (http or https: the site file was checked)
    for name, value in _token().items():
        request.add_unredirected_header(name, value)
    try:
        with urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            return json.load(answer)
    except HTTPError as error:
        if error.code == 404:
            return None
        if error.code in (401, 403):
            raise _refused(site) from None
        raise RunError(f"{site.ray.address}: {error.code} {error.reason}") from None
    except OSError as error:
        raise _silent(site, error) from None
    except (ValueError, HTTPException):
        raise _foreign(site) from None


def _token() -> dict[str, str]:
    """The header with the token, found where Ray's own clients find it; empty without one.

    Raises:
        InputError: its file cannot be read, or it is no token.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return {}
    token, where = os.environ.get("RAY_AUTH_TOKEN", ""), "RAY_AUTH_TOKEN"
    if not token:
        named = os.environ.get("RAY_AUTH_TOKEN_PATH")
        path = Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"
        where = str(path)
        try:
            token = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            if named:
                raise InputError(f"RAY_AUTH_TOKEN_PATH: {named} cannot be read", field="RAY_AUTH_TOKEN_PATH") from None
    token = token.strip()
    if token and not re.fullmatch(r"[!-~]+", token):  # it would be shown in an error of the HTTP client
        raise InputError(f"{where}: expected one word, the token of Ray", field=where)
    return {"Authorization": f"Bearer {token}"} if token else {}


def _refused(site: Site) -> InputError:
    return InputError(
        f"{site.ray.address}: the cluster refuses the token; expected RAY_AUTH_MODE=token and its token in "
        "RAY_AUTH_TOKEN, in the file of RAY_AUTH_TOKEN_PATH or in ~/.ray/auth_token",
        field="RAY_AUTH_TOKEN",
    )


def _silent(site: Site, error: OSError) -> RunError:
    reason = getattr(error, "reason", error)
    said = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return RunError(f"ray.address {site.ray.address}: nobody answers ({said})")


def _foreign(site: Site) -> RunError:
    return RunError(f"ray.address {site.ray.address}: something answers, but it is no dashboard of Ray")


@contextmanager
def _client(site: Site) -> Iterator[Any]:
    """A client of the Jobs API (`JobSubmissionClient`).

    Raises:
        InputError: the token is refused.
        RunError: nobody answers, or not as expected.
    """
    _version(site)  # answers within seconds; Ray's client itself waits for minutes where nobody is
    from aiohttp import ClientError
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for module in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging"):
        logging.getLogger(f"ray.{module}").setLevel(logging.WARNING)
    elsewhere = {name: os.environ.pop(name) for name in _ELSEWHERE if name in os.environ}  # they go before an address
    try:
        try:
            client = JobSubmissionClient(site.ray.address, headers=_token())
        finally:
            os.environ.update(elsewhere)
        yield client
    except AuthenticationError:
        raise _refused(site) from None
    except (InputError, RunError):
        raise
    except (OSError, ClientError) as error:
        raise RunError(f"{site.ray.address}: the connection was lost ({type(error).__name__})") from None
    except RuntimeError as error:
        raise RunError(f"{site.ray.address}: {last_line(str(error))}") from None


def _job(client: Any, handle: str) -> Any:
    """What Ray knows of a job (`JobDetails`); None where it knows none of that id."""
    try:
        return client.get_job_info(handle)
    except RuntimeError as error:
        if "status code 404" in str(error):
            return None
        raise


def _tail(client: Any, handle: str) -> Iterator[str]:
    """Pieces of a job's output until it ends."""

    async def result(of: Awaitable[str | None]) -> str | None:  # the runner takes coroutines only
        return await of

    pieces = client.tail_job_logs(handle)
    with asyncio.Runner() as runner:
        try:
            while (piece := runner.run(result(anext(pieces, None)))) is not None:
                yield piece
        finally:
            runner.run(result(pieces.aclose()))
