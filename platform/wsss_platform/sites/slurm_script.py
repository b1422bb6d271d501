"""What sbatch gets: the job's script, from its site and its command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from wsss_platform.errors import InputError
from wsss_platform.sites.job import PROGRAM, Job
from wsss_platform.sites.site import seconds

RAY = "ray.sbatch"
OUTPUT = "output.log"
LOCK = "requirements.lock"
"""In the job's folder: a copy of the site's, so that a job that starts again has the same environment."""
SHORTEST = 180
"""Seconds of a time limit. Slurm may ask for an end 150 s before it: a shorter job could go on for ever for nothing."""
CANCELLED = "cancelled"
EXIT_CODE = "exit-code"
OURS = {
    "account": "slurm.account",
    "array": "a job is one command",
    "chdir": "a job runs in its own folder",
    "clusters": "write a site file for each cluster",
    "cpus-per-task": "resources.cpus_per_node",
    "error": "a job has its own log",
    "export": "variables and secrets",
    "gpus-per-node": "resources.gpus_per_node",
    "job-name": "a job has its id",
    "mem": "resources.memory_per_node",
    "no-requeue": "slurm.requeue",
    "nodes": "resources.nodes",
    "ntasks-per-node": "always 1",
    "open-mode": "always append",
    "output": "a job has its own log",
    "partition": "slurm.partition",
    "requeue": "slurm.requeue",
    "signal": "a job is always asked to end 90 s before its time is over",
    "time": "resources.time_limit",
    "wrap": "a job is one command",
}
"""Options of sbatch that slurm.options may not have -> what says it in their place."""

# A half-made environment is never seen: its name is a link, made at the end. The lock directory only saves work, so one
# that nobody touches any more, because its job was killed, may be taken away.
_ENVIRONMENT = r"""
environment() { # LOCK FOLDER: puts the environment of a lock file on PATH; the first job makes it
    made=$2/$(sha256sum <"$1" | cut -c 1-16)
    building=$made-$SLURM_JOB_ID guard=$made.lock
    mkdir -p -- "$2"
    until [[ -e "$made" ]] || mkdir -- "$guard" 2>/dev/null; do
        find "$guard" -maxdepth 0 -mmin +5 -exec rmdir -- {} + 2>/dev/null || true
        sleep 5
    done
    if [[ ! -e "$made" ]]; then
        trap 'rmdir -- "$guard"' EXIT
        (while [[ -d "$guard" ]]; do touch -c -- "$guard" && sleep 20; done) &
        install=("$building/bin/python" -m pip install --quiet --disable-pip-version-check)
        ! grep -q -e '--hash=' "$1" || install+=(--require-hashes)
        echo "job.sbatch: makes the environment $made" >&2
        rm -rf -- "$building"
        python3 -m venv "$building"
        "${install[@]}" --requirement "$1"
        ln -sfnT -- "$building" "$made"
        trap - EXIT
        rmdir -- "$guard"
    fi
    export PATH="$made/bin:$PATH"
}
"""
# Slurm's state says who ends the job. RUNNING: its time is nearly over, or it has a grace time before it is preempted.
# COMPLETING: Slurm ends it. Then only a preemption has a time; without one it is scancel, or Slurm requeues it itself.
_REQUEUE = r"""
shown() { scontrol --oneliner show job "$SLURM_JOB_ID"; }
interrupted() { [[ -n "$asked" || "$(shown)" =~ PreemptTime=[0-9] ]]; }
requeue() {
    [[ ! -e cancelled && " $(shown) " =~ " JobState=RUNNING "|PreemptTime=[0-9] ]] || return 1
    echo "job.sbatch: interrupted; back into the queue, where it goes on" >&2
    scontrol requeue "$SLURM_JOB_ID"
}
"""
_NO_REQUEUE = r"""
interrupted() { return 1; }
requeue() { return 1; }
"""
_ASKED = r"""asked='' running=''
# shellcheck disable=SC2329 # called by the trap
end() { # asks the command for an end, once: a second time would stop it at once
    [[ -z "$asked" ]] || return 0
    asked=1
    [[ -z "$running" ]] || kill -TERM "$running" 2>/dev/null || true
    (sleep 60 && requeue) & # one that takes too long is killed and goes on from what it has stored
}
trap end TERM
"""
_RUN = r"""
work &
running=$!
[[ -z "$asked" ]] || kill -TERM "$running" # it was asked before there was one
code=0
wait "$running" || code=$?
while kill -0 "$running" 2>/dev/null; do # a signal ended the first wait
    code=0
    wait "$running" || code=$?
done
if ((code)) && interrupted && requeue; then exit 0; fi
(deliver) || echo "job.sbatch: what the job has made could not be pushed to the remote" >&2
echo "$code" >exit-code
exit "$code"
"""


def script(job: Job) -> str:
    """The text of job.sbatch; it holds no secret.

    Raises:
        InputError: one of slurm.options belongs to another setting, or the time limit is too short to be asked to end.
    """
    program, *arguments = PROGRAM
    locked, requeue = job.site.environment.lock is not None, job.site.slurm.requeue
    environment = [f"    environment {LOCK} {shlex.quote(job.site.storage + '/environments')}"] if locked else []
    work = [
        "work() { # in a process of its own: no other one has the secrets",
        "    set -euo pipefail",
        "    trap - INT # a command ends by it at its next safe place; a shell may ignore it in the background",
        *environment,
        *(f"    {line}" for line in job.exports()),
        f"    export WSSS_COMMAND={program}",
        f"    exec bash {RAY} {shlex.join([*arguments, *job.command])}",
        "}",
    ]
    deliver = [*job.exports(), shlex.join(job.delivery)] if job.delivery else [":"]
    work += ["", "deliver() {", *(environment if job.delivery else []), *(f"    {line}" for line in deliver), "}"]
    head = [
        "#!/bin/bash",
        *(f"#SBATCH {option}" for option in options(job)),
        "# shellcheck disable=SC2016 # what a person wrote stands in single quotes",
        "set -uo pipefail",
    ]
    start = [f"cd {shlex.quote(job.folder)} || exit 1", f"rm -f {EXIT_CODE}"]
    functions = (_ENVIRONMENT if locked else "") + (_REQUEUE if requeue else _NO_REQUEUE)
    return "\n".join([*head, _ASKED + "\n".join(start), functions + "\n".join(["", *work, _RUN.strip(), ""])])


def options(job: Job) -> Iterator[str]:
    """Of sbatch, each such as "--nodes=2".

    Raises:
        InputError: one of slurm.options belongs to another setting, or the time limit is too short to be asked to end.
    """
    resources, slurm = job.site.resources, job.site.slurm
    for text in slurm.options:
        name = text.removeprefix("--").partition("=")[0]
        if name in OURS:
            raise InputError(f"slurm.options: {text}: leave it out ({OURS[name]})", field="slurm.options")
    limit = seconds(resources.time_limit)
    if limit is not None and limit < SHORTEST:
        field = "resources.time_limit"
        raise InputError(f"{field} {resources.time_limit}: expected at least {SHORTEST} seconds", field=field)
    values = {
        "job-name": job.id,
        "nodes": resources.nodes,
        "ntasks-per-node": 1,
        "gpus-per-node": resources.gpus_per_node or "",
        "cpus-per-task": resources.cpus_per_node,
        "mem": resources.memory_per_node,
        "time": resources.time_limit,
        "partition": slurm.partition,
        "account": slurm.account,
        "chdir": job.folder,
        "output": f"{job.folder}/{OUTPUT}",
        "open-mode": "append",
        "signal": "B:TERM@90",
    }
    yield from (f"--{name}={value}" for name, value in values.items() if value != "")
    yield "--requeue" if slurm.requeue else "--no-requeue"
    yield from slurm.options
