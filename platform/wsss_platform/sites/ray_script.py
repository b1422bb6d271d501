"""The script with which a job starts at the head of a Ray cluster, and what its workers get."""

from __future__ import annotations

import shlex
from pathlib import Path

from wsss_platform.sites.job import ARCHIVE, ENTRY, Job

START = "start.sh"
STOPPING = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "60"}
"""How Ray ends a job: as Ctrl-C does, which a run answers at its next safe place; after so many seconds by force."""
_WAITING = """# The launcher's first node is there before the others; a command counts what there is.
alive='import ray; ray.init("auto", log_to_driver=False); print(sum(n["Alive"] for n in ray.nodes()))'
for _ in {{1..60}}; do
    count=$(python -c "$alive" 2>/dev/null | tail -n 1) || break
    [[ "$count" =~ ^[0-9]+$ ]] && ((count < {nodes})) || break
    sleep 10
done"""


def start(job: Job) -> str:
    """The script that makes the job's folder from the archive beside it, and runs the command there."""
    folder, storage = shlex.quote(job.folder), shlex.quote(job.site.storage)
    return "\n".join(
        [
            "#!/bin/bash",
            "set -euo pipefail",
            'here=$(cd -- "$(dirname -- "$0")" && pwd)',
            f"[[ -d {storage} ]] || {{ echo {storage}: no such folder on this node >&2; exit 2; }}",
            f"mkdir -p -- {shlex.quote(str(Path(job.folder).parent))}",
            "(",
            "    umask 077",
            f"    mkdir -p -- {folder}",
            f'    tar -xzf "$here/{ARCHIVE}" --no-same-owner -C {folder}',
            f"    printf %s {shlex.quote(job.entry())} >{folder}/{ENTRY}",
            ")",
            *(_WAITING.format(nodes=job.site.resources.nodes).splitlines() if job.site.kind == "ray-up" else []),
            "# The command sets some of the workers' variables itself; without this Ray refuses a second setting.",
            "export RAY_OVERRIDE_JOB_RUNTIME_ENV=1",
            "# Of a Ray that was started in the background Ctrl-C is ignored; a run shall hear it (STOPPING).",
            "hearing=(env --default-signal=INT)",
            '"${hearing[@]}" true 2>/dev/null || hearing=()',
            f'exec "${{hearing[@]}}" bash {folder}/{ENTRY}',
            "",
        ]
    )


def worker_variables(job: Job) -> dict[str, str]:
    """What workers on all nodes need, and how Ray ends the job. Secrets are not among it: the head reads them."""
    return {**STOPPING, **job.variables}
