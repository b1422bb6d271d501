"""Whether a Slurm site takes a job: its controller, its partitions, and the files that the login node sees."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from wsss_platform.errors import InputError, RunError, unknown
from wsss_platform.sites.job import Job
from wsss_platform.sites.kinds import Check
from wsss_platform.sites.shell import Shell
from wsss_platform.sites.site import Site, seconds
from wsss_platform.sites.slurm_script import script

OLDEST = (3, 11)
"""Python that the platform runs on."""
NO_ANSWER = re.compile(
    r"unable to contact|connection|timed out|no answer|no such file|configuration (source|file)", re.I
)
"""In what sbatch says where it does not refuse a job: it reached no controller, or is not there."""

# The submitter's variables stay behind: SBATCH_* would go before the script's own lines, and Slurm would keep all of
# them, secrets too, with the job. What sbatch says of a fault becomes one line.
_SBATCH = r"""
keep=()
for name in HOME PATH USER LOGNAME SHELL LANG LC_ALL TZ LD_LIBRARY_PATH KRB5CCNAME SLURM_CONF; do
    [[ -z "${!name+x}" ]] || keep+=("$name=${!name}")
done
{ said=$(env -i "${keep[@]}" sbatch "$@" 2>&1 >&3); code=$?; } 3>&1
((code == 0)) || printf '%s\n' "${said//$'\n'/; }" >&2
exit "$code"
"""
_VERSIONS = """
import importlib.metadata, platform
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"
print(platform.python_version(), version("wsss-platform"), version("ray"))
"""


class Partition(NamedTuple):
    """What sinfo says of one."""

    name: str
    default: bool
    available: str
    """"up", "down", "drain" or "inact"."""
    limit: str
    """[days-][hours:]minutes:seconds, or "infinite"."""
    nodes: int


def check(job: Job) -> Iterator[Check]:
    """Whether this job can be sent; nothing is left on the site. What is out of reach is "skipped"."""
    site, shell = job.site, Shell(job.site.slurm.login)
    try:
        text = script(job)
    except InputError as error:
        yield Check(error.field or "site", "wrong", str(error))
        return
    known, why = _partitions(shell)
    if known is None:
        yield Check("Slurm", "skipped", why)
    else:
        yield (found := _partition(site, known))
        if found.state == "ok":
            yield _test_only(shell, site, text)
    yield from _files(shell, site, known is not None, needs_platform=not job.code.trees)


def look(site: Site) -> Iterator[Check]:
    """Whether the site can be used at all. What is out of reach is "skipped"."""
    shell = Shell(site.slurm.login)
    known, why = _partitions(shell)
    if known is None:
        yield Check("controller", "skipped", why)
    else:
        limits = (f"{each.name} ({each.nodes} nodes, at most {each.limit})" for each in known)
        yield Check("controller", "ok", f"answers; partitions: {', '.join(limits) or 'none'}")
        yield _partition(site, known)
        yield _requeue(shell, site)
    yield from _files(shell, site, known is not None, needs_platform=False)


def sbatch(shell: Shell, *arguments: str, content: bytes | None = None) -> str:
    """What sbatch prints; it gets none of the submitter's variables but those that it needs itself.

    Raises:
        RunError: it refused; `refusal` makes of it what a person reads.
    """
    return shell.run("bash", "-c", _SBATCH, "sbatch", *arguments, content=content)


def refusal(error: RunError, site: Site) -> InputError | RunError:
    """What sbatch said: an InputError that names the settings it may mean, or a RunError where it is no refusal."""
    said = re.sub(r"\b(bash|sbatch|error|allocation failure|Batch job submission failed): ", "", str(error))
    if NO_ANSWER.search(said):
        return RunError(f"Slurm: {said}")
    given, slurm = site.resources, site.slurm
    per_node = f"{given.gpus_per_node} GPUs, {given.cpus_per_node} cores, {given.memory_per_node or 'any'} memory"
    named = {
        "slurm.partition": ("partition", slurm.partition or "the default one"),
        "slurm.account": ("account", slurm.account or "none"),
        "slurm.options": ("feature|qos|option|constraint|reservation", " ".join(slurm.options) or "none"),
        "resources.time_limit": ("time limit", given.time_limit or "none"),
        "resources": (r"\bnode|cpu|processor|memory|gres", f"{given.nodes} nodes, each with {per_node}"),
    }
    meant = {setting: value for setting, (words, value) in named.items() if re.search(words, said, re.I)}
    settings = "".join(f"; {setting}: {value}" for setting, value in meant.items())
    return InputError(f"Slurm refuses the job: {said}{settings}", field=next(iter(meant), None))


def is_there(shell: Shell, flag: str, path: str) -> bool:
    """What `test FLAG PATH` says on the site.

    Raises:
        InputError: the login node cannot be reached.
    """
    try:
        shell.run("test", flag, path)
    except RunError:
        return False
    return True


def _test_only(shell: Shell, site: Site, text: str) -> Check:
    try:
        sbatch(shell, "--test-only", content=text.encode())
    except RunError as error:
        refused = refusal(error, site)
        return Check("sbatch --test-only", "wrong" if isinstance(refused, InputError) else "skipped", str(refused))
    return Check("sbatch --test-only", "ok", "Slurm takes such a job")


def _partitions(shell: Shell) -> tuple[list[Partition] | None, str]:
    """All that sinfo knows; None and the reason where it cannot be asked."""
    try:
        lines = shell.run("sinfo", "--noheader", "--format=%P|%a|%l|%D").splitlines()
    except (InputError, RunError) as error:
        return None, f"no controller answers: {error}"
    rows = [line.strip().split("|") for line in lines if line.count("|") == 3]
    found = [Partition(name.rstrip("*"), name[-1:] == "*", up, limit, int(nodes)) for name, up, limit, nodes in rows]
    return found, ""


def _partition(site: Site, known: list[Partition]) -> Check:
    """Whether the job's partition is there and gives as much time as is asked for; else Slurm lets it wait for ever."""
    wanted, time = site.slurm.partition, site.resources.time_limit
    given = next((each for each in known if (each.name == wanted if wanted else each.default)), None)
    if given is None:
        no_default = "slurm.partition: this Slurm has no default partition; name one"
        error = unknown("partition", wanted, [each.name for each in known], "slurm.partition")
        return Check("partition", "wrong", f"slurm.partition: {error}" if wanted else no_default)
    if given.available != "up":
        return Check("partition", "wrong", f"slurm.partition: {given.name} is {given.available}")
    limit = seconds(f"0:{given.limit}" if given.limit.count(":") == 1 else given.limit)
    if limit is not None and (seconds(time) or 0) > limit:
        said = f"resources.time_limit {time}: partition {given.name} gives at most {given.limit}"
        return Check("partition", "wrong", said)
    return Check("partition", "ok", f"{given.name}: {given.nodes} nodes, at most {given.limit}")


def _requeue(shell: Shell, site: Site) -> Check:
    """Slurm's own default (JobRequeue) does not matter: every job says whether it may be requeued."""
    if not site.slurm.requeue:
        return Check("requeue", "ok", "off (slurm.requeue): a job whose time is over ends; submit it again to go on")
    try:
        config = shell.run("scontrol", "show", "config")
    except (InputError, RunError) as error:
        return Check("requeue", "skipped", str(error))
    mode = re.search(r"^PreemptMode\s*=\s*(\S+)", config, re.MULTILINE)
    said = f"on: a job whose time is over, or that is preempted, goes on (PreemptMode {mode[1] if mode else 'unknown'})"
    return Check("requeue", "ok", said)


def _files(shell: Shell, site: Site, is_login: bool, needs_platform: bool) -> Iterator[Check]:
    """The files that a job needs. A machine without Slurm is no login node: what it does not see may be there."""
    try:
        found = [_storage(shell, site), _environment(shell, site, needs_platform), *_secrets(shell, site)]
    except InputError as error:
        found = [Check("files", "skipped", str(error))]
    for each in found:
        if is_login or each.state != "wrong":
            yield each
        else:
            yield Check(each.what, "skipped", f"seen from a machine without Slurm: {each.said}")


def _storage(shell: Shell, site: Site) -> Check:
    if not is_there(shell, "-d", site.storage):
        return Check("storage", "wrong", f"storage: {site.storage}: no such folder; make one that all nodes see")
    if not is_there(shell, "-w", site.storage):
        return Check("storage", "wrong", f"storage: {site.storage}: you may not write to it")
    return Check("storage", "ok", f"{site.storage} may be written to")


def _environment(shell: Shell, site: Site, needs_platform: bool) -> Check:
    what, venv, lock = "environment", site.environment.venv, site.environment.lock
    if lock is not None:
        if is_there(shell, "-r", lock):
            return Check(what, "ok", f"the first job makes it from {lock}")
        return Check(what, "wrong", f"environment.lock: {lock}: no such file, or you may not read it")
    if venv is None:
        return Check(what, "skipped", "neither venv nor lock: nodes must have python and ray on their PATH")
    for program in ("python", "ray"):
        if not is_there(shell, "-x", f"{venv}/bin/{program}"):
            make = f"python3 -m venv {venv}, then {venv}/bin/pip install wsss-platform"
            return Check(what, "wrong", f"environment.venv: {venv} has no bin/{program}; make it: {make}")
    try:
        python, platform, ray = shell.run(f"{venv}/bin/python", "-c", _VERSIONS).split()
    except (RunError, ValueError) as error:
        return Check(what, "wrong", f"environment.venv: {venv}/bin/python does not run: {error}")
    said = f"{venv}: Python {python}, wsss-platform {platform}, Ray {ray}"
    if tuple(int(part) for part in python.split(".")[:2]) < OLDEST:
        return Check(what, "wrong", f"environment.venv: {said}; expected Python {'.'.join(map(str, OLDEST))} or newer")
    if needs_platform and platform == "none":
        return Check(
            what, "wrong", f"environment.venv: {said}; install wsss-platform: no code of a checkout goes along"
        )
    return Check(what, "ok", said)


def _secrets(shell: Shell, site: Site) -> Iterator[Check]:
    for name, where in site.secrets.items():
        path, what = where.removeprefix("file:"), f"secret {name}"
        if not is_there(shell, "-r", path):
            yield Check(what, "wrong", f"secrets.{name}: {path}: no such file, or you may not read it")
        elif shell.run("stat", "--dereference", "--format=%A", "--", path)[7] == "r":  # -rw-r--r--
            yield Check(what, "wrong", f"secrets.{name}: everybody may read {path}; chmod 600 {path}")
        else:
            yield Check(what, "ok", f"{path} may be read, and not by others")
