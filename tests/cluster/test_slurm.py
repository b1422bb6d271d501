"""`cluster/slurm/ray.sbatch` on a real Slurm (Debian's packages), started here in a temporary folder.

Skips where Slurm is not installed or the user is not root: `apt-get install slurm-wlm munge`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "cluster" / "slurm" / "ray.sbatch"
NODES = ("n1", "n2")
PYTHON = {"WSSS_COMMAND": "python"}
MISSING = [name for name in ("slurmctld", "slurmd", "munged", "sbatch", "srun") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(MISSING), reason=f"Slurm is not installed: no {', '.join(MISSING)} (slurm-wlm, munge)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="starting munged and slurmd needs root"),
]

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


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            pytest.fail(f"no {what} within {seconds:.0f} s")
        time.sleep(0.2)


def processes_with(text: str) -> list[str]:
    """Command lines of live processes whose command line or environment holds `text`."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes()
            if command and text.encode() in command + (folder / "environ").read_bytes():
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


class Slurm:
    """A controller and two nodes on this host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "RAY_"))}
        self.environment |= {"SLURM_CONF": str(folder / "slurm.conf"), "WSSS_VENV": sys.prefix, "OMP_NUM_THREADS": "1"}

    def start(self) -> None:
        for name in ("state", "spool-n1", "spool-n2", "log"):
            (self.folder / name).mkdir()
        munge = self.folder / "munge"
        munge.mkdir(mode=0o755)
        (munge / "key").write_bytes(os.urandom(128))
        (munge / "key").chmod(0o400)
        for path in (munge, munge / "key"):
            shutil.chown(path, "munge", "munge")
        control, *nodes = free_ports(1 + len(NODES))
        host = socket.gethostname().split(".")[0]
        lines = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=3000"
            for name, port in zip(NODES, nodes, strict=True)
        ]
        conf = f"""
            ClusterName=test
            SlurmctldHost={host}(127.0.0.1)
            SlurmctldPort={control}
            SlurmUser=root
            AuthType=auth/munge
            AuthInfo=socket={munge}/socket
            CredType=cred/munge
            ProctrackType=proctrack/linuxproc
            TaskPlugin=task/none
            SelectType=select/cons_tres
            SelectTypeParameters=CR_CPU_Memory
            DefMemPerNode=1200
            SlurmdParameters=config_overrides
            StateSaveLocation={self.folder}/state
            SlurmdSpoolDir={self.folder}/spool-%n
            SlurmctldPidFile={self.folder}/slurmctld.pid
            SlurmdPidFile={self.folder}/slurmd-%n.pid
            MpiDefault=none
            MailProg=/bin/true
            KillWait=20
            ReturnToService=2
        """
        tail = "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP"
        (self.folder / "slurm.conf").write_text("\n".join([textwrap.dedent(conf).strip(), *lines, tail, ""]))
        files = [f"--{name}-file={munge}/{name}" for name in ("key", "pid", "log", "seed")]
        socket_path = f"--socket={munge}/socket"
        self.daemon(["runuser", "-u", "munge", "--", "munged", "--foreground", socket_path, *files], "munged")
        wait_for((munge / "socket").exists, 120, "munge socket")
        self.daemon(["slurmctld", "-D", "-c", "-f", f"{self.folder}/slurm.conf"], "slurmctld")
        for name in NODES:
            self.daemon(["slurmd", "-D", "-N", name, "-f", f"{self.folder}/slurm.conf"], name)
        idle = ["sinfo", "--noheader", "--states=idle", "--format=%D"]
        wait_for(lambda: self.run(idle, check=False).stdout.split() == ["2"], 300, "two idle Slurm nodes")

    def daemon(self, command: list[str], name: str) -> None:
        with (self.folder / f"{name}.out").open("wb") as out:
            self.daemons.append(
                subprocess.Popen(command, env=self.environment, stdout=out, stderr=out, start_new_session=True)
            )

    def run(
        self, command: list[str], *, check: bool = True, settings: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **(settings or {})}
        return subprocess.run(command, env=environment, text=True, capture_output=True, check=check, timeout=600)

    def submit(
        self, *arguments: str, flags: tuple[str, ...] = (), settings: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Exit code of a job that ran to its end, and what it printed."""
        output = self.folder / "log" / f"{time.monotonic_ns()}.out"
        command = ["sbatch", "--parsable", "--time=10", f"--chdir={self.folder}", f"--output={output}", *flags]
        job = self.run([*command, str(SCRIPT), *arguments], settings=settings).stdout.strip()
        return self.wait(job), output.read_text()

    def wait(self, job: str) -> int:
        """Exit code of a job, which must not be cancelled. (`sbatch --wait` looks only every 32 s.)"""

        def shown() -> dict[str, str]:
            words = self.run(["scontrol", "--oneliner", "show", "job", job]).stdout.split()
            return dict(word.partition("=")[::2] for word in words)

        wait_for(lambda: shown()["JobState"] in ("COMPLETED", "FAILED"), 600, f"end of job {job}")
        code, signalled = shown()["ExitCode"].split(":")
        assert signalled == "0"
        return int(code)

    def stop(self) -> None:
        self.run(["scancel", "--user=root"], check=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            wait_for(lambda: not self.run(["squeue", "--noheader"], check=False).stdout.strip(), 40, "empty queue")
        for daemon in reversed(self.daemons):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(daemon.pid, signal.SIGKILL)
                daemon.wait(20)


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    folder = Path(tempfile.mkdtemp(prefix="wsss-slurm-"))
    folder.chmod(0o755)  # munged runs as its own user
    site = Slurm(folder)
    try:
        site.start()
        yield site
    finally:
        site.stop()
        shutil.rmtree(folder)


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
