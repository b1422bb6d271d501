"""`cluster/slurm/ray.sbatch` on a real Slurm (Debian's packages), started here in a temporary folder.

Skips where Slurm is not installed or the user is not root: `apt-get install slurm-wlm munge`.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from real_slurm import MARKS, SCRIPT, Slurm, processes_with, running_slurm, wait_for

PYTHON = {"WSSS_COMMAND": "python"}

pytestmark = MARKS

ASK_RAY = """
import json, os, pathlib, sys, ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On
ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False)

@ray.remote(num_cpus=1)
def where():
    return ray.get_runtime_context().get_node_id(), os.environ["RAY_AUTH_MODE"]

alive = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
answers = ray.get([where.options(scheduling_strategy=On(node, soft=False)).remote() for node in alive])
pathlib.Path(sys.argv[1]).write_text(json.dumps({
    "alive": alive, "used": sorted({node for node, _ in answers}), "auth": sorted({mode for _, mode in answers}),
    "store": ray.cluster_resources()["object_store_memory"], "cpus": ray.cluster_resources()["CPU"],
    "gpus": ray.cluster_resources().get("GPU", 0),
    "address": os.environ["RAY_ADDRESS"], "arguments": sys.argv[2:],
}))
"""


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with running_slurm() as site:
        yield site


def ask(folder: Path) -> Path:
    path = folder / "ask.py"
    path.write_text(ASK_RAY)
    return path


def assert_clean(answer: Mapping[str, object]) -> None:
    """Ray is gone from this host: no process of that address, no temporary folder."""
    port = str(answer["address"]).rsplit(":", 1)[1]
    wait_for(lambda: not processes_with(f":{port}"), 120, f"end of Ray on port {port}")
    assert not list(Path("/tmp").glob("wsss-[0-9]*-[0-9]"))


def test_runs_a_platform_command(slurm: Slurm) -> None:
    code, output = slurm.submit("methods", "--json")
    assert code == 0, output
    assert "ray.sbatch: Ray runs on 1 node(s)" in output
    document, _ = json.JSONDecoder().raw_decode(output, output.index("\n{") + 1)
    assert {"cam", "fbr"} <= {method["name"] for method in document["methods"]}


def test_the_command_uses_the_rays_of_both_nodes(slurm: Slurm, tmp_path: Path) -> None:
    answer_file = tmp_path / "answer.json"
    odd = ["--set", "name=two words", "$(touch /tmp/never) * ; 'quoted'"]
    code, output = slurm.submit(
        str(ask(tmp_path)),
        str(answer_file),
        *odd,
        flags=("--nodes=2", "--cpus-per-task=2", "--mem=900"),
        settings=PYTHON,
    )
    assert code == 0, output
    answer = json.loads(answer_file.read_text())
    assert len(answer["alive"]) == 2
    assert answer["used"] == sorted(answer["alive"])
    assert answer["cpus"] == 4  # what Slurm granted: two on each node
    assert answer["store"] == 2 * 300 * 2**20  # a third of the granted memory
    assert answer["gpus"] == 0
    assert answer["auth"] == ["token"]
    assert answer["arguments"] == odd
    assert_clean(answer)


def test_the_exit_code_is_the_commands(slurm: Slurm, tmp_path: Path) -> None:
    program = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(os.environ['RAY_ADDRESS']); sys.exit(7)"
    code, output = slurm.submit("-c", program, str(tmp_path / "address"), settings=PYTHON)
    assert code == 7, output
    assert_clean({"address": (tmp_path / "address").read_text()})


def test_sbatch_wait_returns_the_code(slurm: Slurm) -> None:
    done = slurm.run(["sbatch", "--wait", f"--output={slurm.folder}/log/wait.out", str(SCRIPT)], check=False)
    assert done.returncode == 2


def test_cancel_ends_ray(slurm: Slurm, tmp_path: Path) -> None:
    address = tmp_path / "address"
    program = f"import os, pathlib, time; pathlib.Path({str(address)!r}).write_text(os.environ['RAY_ADDRESS'])"
    command = ["sbatch", "--parsable", "--time=10", f"--output={tmp_path}/job.out", str(SCRIPT), "-c"]
    job = slurm.run([*command, f"{program}; time.sleep(500)"], settings=PYTHON).stdout.strip()
    wait_for(address.exists, 300, "start of the command")
    port = address.read_text().rsplit(":", 1)[1]
    assert processes_with(f":{port}")  # the check below can fail
    slurm.run(["scancel", job])
    assert_clean({"address": address.read_text()})
    wait_for(lambda: not slurm.run(["squeue", "--noheader"]).stdout.strip(), 120, "end of the cancelled job")


def test_two_jobs_share_a_host(slurm: Slurm, tmp_path: Path) -> None:
    script, answers = ask(tmp_path), [tmp_path / "0.json", tmp_path / "1.json"]
    flags = ["--parsable", "--time=10", "--nodes=1", "--cpus-per-task=2"]
    jobs = [
        slurm.run(
            ["sbatch", *flags, f"--output={answer}.out", str(SCRIPT), str(script), str(answer)], settings=PYTHON
        ).stdout.strip()
        for answer in answers
    ]
    codes = [slurm.wait(job) for job in jobs]
    outputs = "\n".join(Path(f"{answer}.out").read_text() for answer in answers)
    assert codes == [0, 0], outputs
    first, second = (json.loads(answer.read_text()) for answer in answers)
    assert first["address"] != second["address"]
    assert not set(first["alive"]) & set(second["alive"])
    for answer in (first, second):
        assert answer["cpus"] == 2
        assert_clean(answer)


@pytest.mark.parametrize(
    ("arguments", "settings", "reason"),
    [
        ((), {}, "no command"),
        (("methods",), {"WSSS_VENV": "/nowhere"}, "WSSS_VENV=/nowhere"),
        (("methods",), {"WSSS_COMMAND": "no-such-program"}, "no no-such-program on PATH"),
        (("methods",), {"WSSS_PORT": "99999"}, "WSSS_PORT=99999"),
    ],
)
def test_wrong_settings_are_named(
    slurm: Slurm, arguments: tuple[str, ...], settings: dict[str, str], reason: str
) -> None:
    code, output = slurm.submit(*arguments, settings=settings)
    assert code == 2
    assert reason in output


def test_a_taken_port_fails_the_job(slurm: Slurm) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, output = slurm.submit("methods", settings={"WSSS_PORT": port})
    assert code == 1, output
    assert f"port {port}" in output


def test_a_ray_that_does_not_start_fails_the_job(slurm: Slurm, tmp_path: Path) -> None:
    fake = tmp_path / "bin" / "ray"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho no such luck\nexit 3\n")
    fake.chmod(0o755)
    code, output = slurm.submit("-c", "0", settings={**PYTHON, "WSSS_VENV": str(tmp_path)})
    assert code == 1, output
    assert "ended with code 3" in output
    assert "no such luck" in output


def test_a_ray_that_starts_too_slowly_is_started_again(slurm: Slurm, tmp_path: Path) -> None:
    slow = tmp_path / "bin" / "ray"
    slow.parent.mkdir()
    real = Path(sys.executable).with_name("ray")
    slow.write_text(
        f'#!/bin/sh\nif [ "$1" = start ] && [ ! -e {tmp_path}/tried ]; then\n'
        f"  touch {tmp_path}/tried; echo 'Exception: The current node timed out during startup.'; exit 1\nfi\n"
        f'exec {real} "$@"\n'
    )
    slow.chmod(0o755)
    code, output = slurm.submit("-c", "0", settings={**PYTHON, "WSSS_VENV": str(tmp_path)})
    assert code == 0, output
    assert "too slow to start; trying again" in output
