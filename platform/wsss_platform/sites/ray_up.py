"""Kind `ray-up`: Ray's cluster launcher, as the commands `ray up`, `ray rsync-up` and `ray exec`.

The cluster of the YAML file is started where no head of it runs; one that runs is left as it is, with its jobs. Code
and scripts are copied into the job's folder by way of the head, which hands the job to its own Ray. `ray down` is the
user's: a job never ends a cluster.
"""

from __future__ import annotations

import io
import json
import logging
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from wsss_platform.errors import InputError, RunError, unknown
from wsss_platform.sites.job import ARCHIVE, ENTRY, Job
from wsss_platform.sites.kinds import Check
from wsss_platform.sites.ledger import Sent, Status, ledger
from wsss_platform.sites.ray_jobs import (
    STATES,
    forgotten,
    last_line,
    lines,
    metadata,
    refuse,
    settled,
)
from wsss_platform.sites.ray_script import START, start, worker_variables
from wsss_platform.sites.shell import SECONDS, Shell
from wsss_platform.sites.site import Site

ADDRESS = "http://127.0.0.1:8265"
"""Of the dashboard, on the head itself."""
WORKERS = "workers.json"
"""In the job's folder: its runtime environment."""
STARTING = 60 * 60
"""Seconds in which `ray up` must have set up the head."""
_DONE = re.compile(r"(?P<said>.*)wsss-exit-code (?P<code>\d+)\s*", re.DOTALL)
"""How `_AT_HEAD` ends. The launcher may show the command, too, which has no number there."""
_LOGS = "Job submission server address"
"""What `ray job` prints before a job's output."""
_AT_HEAD = (
    '[ ! -r ~/.ray/auth_token ] || export RAY_AUTH_MODE=token; "$@" && code=0 || code=$?; echo "wsss-exit-code $code"'
)
"""`ray job` asks for no token by itself. `ray exec` says only whether a command failed, not why."""
_NO_HEAD = "no head runs"
_MAKE = 'mkdir -p -- "${1%/*}"; umask 077; mkdir -p -- "$1"'


def files(job: Job) -> dict[str, str]:
    """What is copied into the job's folder, and what `start.sh` writes there."""
    return {f"{job.folder}/{name}": text for name, text in {**_scripts(job), ENTRY: job.entry()}.items()}


def commands(job: Job) -> list[str]:
    """The launcher's commands."""
    cluster = job.site.ray_up.cluster
    return [
        shlex.join(["ray", "get-head-ip", cluster]),
        f"{shlex.join(_up(cluster))}  # only where no head runs",
        shlex.join(["ray", "exec", cluster, _at_head(*_make(job))]),
        shlex.join(["ray", "rsync-up", cluster, "./", f"{job.folder}/"])
        + f"  # in a folder with {', '.join([ARCHIVE, *_scripts(job)])}",
        shlex.join(["ray", "exec", cluster, _at_head(*_submit(job))]),
    ]


def check(job: Job) -> Iterator[Check]:
    """The site; the job adds nothing that can be seen from here."""
    yield from look(job.site)


def look(site: Site) -> Iterator[Check]:
    """What can be seen without a cluster: nothing is started, and no host is asked."""
    yield from settled(site, {"lock"})
    yield from _programs()
    yield from _cluster(site)
    yield Check("head", "skipped", "a check starts nothing and asks no host")


def submit(job: Job) -> str:
    """Start the cluster if its head does not run, copy code and scripts there, and hand the job to its Ray.

    Raises:
        InputError: the site or the cluster's YAML file is wrong, or Ray refuses the job.
        RunError: the cluster does not start, or the head does not answer.
    """
    site, cluster = job.site, job.site.ray_up.cluster
    refuse(look(site))
    if not _runs(cluster):
        _launcher(*_up(cluster)[1:], seconds=STARTING)
    _expect(site, *_make(job))
    with TemporaryDirectory(prefix="wsss-") as folder:
        for name, content in {ARCHIVE: job.archive(), **{n: t.encode() for n, t in _scripts(job).items()}}.items():
            path = Path(folder) / name
            path.touch(mode=0o600)
            path.write_bytes(content)
        _launcher("rsync-up", cluster, f"{folder}/", f"{job.folder}/", seconds=STARTING)
    _expect(site, *_submit(job))
    return job.id


def status(sent: Sent) -> Status:
    """How it does; "unknown" where no head runs, or where it has forgotten the job."""
    code, said = _ask(sent.site, *_job(sent.site, "status", sent.handle))
    if _gone(code, said):
        return forgotten(sent)
    id = re.escape(sent.handle)
    found = re.search(rf"Job '{id}' (?:was )?(succeeded|failed|stopped)|Status for job '{id}': (\w+)", said)
    if code or found is None:
        raise RunError(f"{sent.id}: {last_line(said)}")
    message = re.search(r"Status message: (.*?)(, last available logs.*)?$", said, re.MULTILINE)
    state = STATES.get((found[1] or found[2]).upper(), "unknown")
    return Status(id=sent.id, state=state, said=message[1] if message else found[0])


def logs(sent: Sent, follow: bool) -> Iterator[str]:
    """Lines of its output.

    Raises:
        InputError: no head runs, or it has forgotten the job.
        RunError: the head does not answer, or the connection is lost before the job ends.
    """
    found = status(sent)
    if found.state == "unknown":
        raise InputError(f"{sent.id}: {found.said}")
    words = _quiet(*_job(sent.site, "logs", sent.handle), *(["--follow"] if follow else []))
    shown = False
    for line in Shell().follow(*_quiet(*_ray(), "exec", sent.site.ray_up.cluster, _at_head(*words))):
        done = _DONE.fullmatch(line)
        if shown:
            yield from lines([done["said"] if done else line])
        if done and done["code"] == "0":
            return
        if done:
            break
        shown = shown or line.startswith(_LOGS)
    raise RunError(f"{sent.id}: the connection to the head was lost; the job goes on")


def cancel(sent: Sent) -> None:
    """Ask Ray to end it: first as Ctrl-C does, after a minute by force."""
    code, said = _ask(sent.site, *_job(sent.site, "stop", sent.handle), "--no-wait")
    if code and not _gone(code, said):
        raise RunError(f"{sent.id}: {last_line(said)}")


def _scripts(job: Job) -> dict[str, str]:
    environment = {"env_vars": worker_variables(job)}
    return {START: start(job), WORKERS: json.dumps(environment, indent=1) + "\n"}


def _make(job: Job) -> list[str]:
    return ["bash", "-euc", _MAKE, "make", job.folder]


def _submit(job: Job) -> list[str]:
    given = {
        "--submission-id": job.id,
        "--runtime-env": f"{job.folder}/{WORKERS}",
        "--metadata-json": json.dumps(metadata(job)),
    }
    words = [word for option in given.items() for word in option]
    return [*_job(job.site, "submit", *words), "--no-wait", "--", "bash", f"{job.folder}/{START}"]


def _job(site: Site, verb: str, *words: str) -> list[str]:
    """`ray job VERB` at the head, with the Ray that the cluster runs in."""
    venv = site.environment.venv
    ray = f"{venv}/bin/ray" if venv else "ray"
    return [ray, "job", verb, "--address", ADDRESS, "--log-style", "pretty", "--log-color", "false", *words]


def _up(cluster: str) -> list[str]:
    return ["ray", "up", "--yes", "--disable-usage-stats", cluster]


def _at_head(*words: str) -> str:
    """A command as the text that the head's shell reads."""
    return shlex.join(["bash", "-c", _AT_HEAD, "at-head", *words])


def _quiet(*words: str) -> list[str]:
    """A command without its own notes; what a job writes to standard error is in its output."""
    return ["bash", "-c", 'exec "$@" 2>/dev/null', "quiet", *words]


def _program(name: str) -> str:
    """One of this Python's environment, whose Ray reads the YAML file."""
    return str(Path(sys.executable).with_name(name))


def _launcher(*words: str, seconds: float = SECONDS) -> str:
    """Output of a command of the launcher. What it knows of a cluster lies beside the ledger: in /tmp it would be gone
    after a restart, and `ray up` would then end the jobs of a head that runs."""
    return Shell(seconds=seconds).run(*_ray(), *words)


def _ray() -> tuple[str, ...]:
    return ("env", f"RAY_TMPDIR={ledger().parent}", _program("ray"))


def _runs(cluster: str) -> bool:
    """Whether the launcher knows a head that runs. To `ray up` it again would end its jobs if the file has changed."""
    try:
        _launcher("get-head-ip", cluster)
    except RunError:
        return False
    return True


def _ask(site: Site, *words: str) -> tuple[int, str]:
    """Exit code and output of a command at the head; (1, "no head runs") where none runs.

    Raises:
        RunError: it cannot be reached.
    """
    try:
        said = _launcher("exec", site.ray_up.cluster, _at_head(*words)).replace("\r", "")
    except RunError as error:
        if "Head node of cluster" in str(error):
            return 1, _NO_HEAD
        raise RunError(f"{site.ray_up.cluster}: the head cannot be reached; {_see(site)}") from None
    done = _DONE.match(said)
    if done is None:
        raise RunError(f"{site.ray_up.cluster}: the head's answer is not whole; {_see(site)}")
    return int(done["code"]), done["said"]


def _gone(code: int, said: str) -> bool:
    return code != 0 and (said == _NO_HEAD or "status code 404" in said)


def _expect(site: Site, *words: str) -> None:
    code, said = _ask(site, *words)
    if code and "Failed to connect to Ray" in said:
        raise RunError(f"the head runs, but no Ray on it; {shlex.join(_up(site.ray_up.cluster))} starts it")
    if code:
        raise InputError(f"{site.ray_up.cluster}: the head refuses the job: {last_line(said)}", field="ray_up.cluster")


def _see(site: Site) -> str:
    return f"`{shlex.join(['ray', 'exec', site.ray_up.cluster, 'uptime'])}` says why"


def _programs() -> Iterator[Check]:
    for name, found in {"ray": shutil.which(_program("ray")), **{n: shutil.which(n) for n in ("ssh", "rsync")}}.items():
        yield Check(name, *(("ok", found) if found else ("wrong", f"{name}: not installed on this machine")))


def _cluster(site: Site) -> Iterator[Check]:
    """The YAML file as Ray reads it, its provider's package, its key, and whether it has room for the job."""
    path = Path(site.ray_up.cluster)
    try:
        config = _prepared(path)
    except InputError as error:
        yield Check("cluster", "wrong", f"ray_up.cluster: {path}: {error}")
        return
    yield Check("cluster", "ok", f"{config['cluster_name']}, of provider {config['provider']['type']}")
    yield _provider(config["provider"])
    key = config.get("auth", {}).get("ssh_private_key")
    if key is None:
        yield Check("ssh key", "skipped", "auth.ssh_private_key is not set: ssh or the provider has its own")
    elif Path(key).expanduser().is_file():
        yield Check("ssh key", "ok", key)
    else:
        yield Check("ssh key", "wrong", f"auth.ssh_private_key: no such file: {key}")
    room, wanted = config.get("max_workers", 0) + 1, site.resources.nodes
    said = f"{room} nodes at most, of which the job asks for {wanted}"
    yield Check("resources", "ok", said) if wanted <= room else Check("resources", "wrong", f"{said}; see max_workers")
    image, own = site.environment.image, config.get("docker", {}).get("image")
    if image is not None and image != own:
        yield Check("image", "wrong", f"environment.image: {image}, but docker.image of {path} is {own}; leave it out")


def _provider(provider: dict[str, Any]) -> Check:
    from ray.autoscaler._private.providers import _get_node_provider_cls

    try:
        _get_node_provider_cls(provider)
    except ImportError as error:
        missing = error.name or str(error)
        return Check("provider", "skipped", f"{provider['type']}: {missing} is not installed on this machine")
    return Check("provider", "ok", provider["type"])


def _prepared(path: Path) -> dict[str, Any]:
    """A cluster's YAML file with Ray's defaults, checked by Ray itself.

    Raises:
        InputError: it is missing, no YAML, or not what Ray expects.
    """
    import yaml
    from click import ClickException
    from ray import autoscaler
    from ray.autoscaler._private.providers import _NODE_PROVIDERS
    from ray.autoscaler._private.util import prepare_config, validate_config

    jsonschema = import_module("jsonschema")
    schema = json.loads((Path(autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8"))
    logging.getLogger("ray.autoscaler").setLevel(logging.ERROR)
    said = io.StringIO()  # Ray prints its reasons
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        jsonschema.validate(config, schema)  # before Ray's defaults, which trust its types
        kind = config["provider"]["type"]
        if kind not in _NODE_PROVIDERS:
            raise unknown("provider.type", kind, _NODE_PROVIDERS)
        with redirect_stdout(said), redirect_stderr(said):
            prepared: dict[str, Any] = prepare_config(config)
            validate_config(prepared)
    except InputError:
        raise
    except OSError:
        raise InputError("no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"no YAML: {' '.join(str(error).split())}") from None
    except jsonschema.ValidationError as error:
        raise _wrong_field(error) from None
    except ClickException as error:
        raise InputError(error.message) from None
    except KeyError as error:
        raise InputError(f"{error.args[0]} is missing") from None
    except (ValueError, TypeError, AttributeError, AssertionError, RuntimeError) as error:
        raise InputError(last_line(str(error))) from None
    return prepared


def _wrong_field(error: Any) -> InputError:
    """What jsonschema found, with the nearest right name for a wrong one."""
    where = ".".join(map(str, error.absolute_path)) or "the file"
    known = error.schema.get("properties", {})
    if error.validator == "additionalProperties" and (wrong := sorted(set(error.instance) - set(known))):
        return unknown(f"field of {where}", wrong[0], known)
    return InputError(f"{where}: {error.message}")
