"""A real Slurm (Debian's packages: slurm-wlm, munge) of two nodes on this host, started in a temporary folder."""

from __future__ import annotations

import contextlib
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
from filelock import FileLock

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "cluster" / "slurm" / "ray.sbatch"
NODES = ("n1", "n2")
FIRST = "first"
"""The partition whose jobs preempt those of "all", the default one."""
MISSING = [name for name in ("slurmctld", "slurmd", "munged", "sbatch", "srun") if shutil.which(name) is None]
MARKS = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(MISSING), reason=f"Slurm is not installed: no {', '.join(MISSING)} (slurm-wlm, munge)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="starting munged and slurmd needs root"),
]
"""Of every module that starts one: `pytestmark = MARKS`."""


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
            AuthInfo=socket={munge}/socket,cred_expire=10
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
            PreemptType=preempt/partition_prio
            PreemptMode=REQUEUE
            ReturnToService=2
        """
        partitions = [
            "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1",
            f"PartitionName={FIRST} Nodes=ALL MaxTime=60 State=UP PriorityTier=2",
        ]
        text = "\n".join([textwrap.dedent(conf).strip(), *lines, *partitions, ""])
        (self.folder / "slurm.conf").write_text(text)
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


@contextlib.contextmanager
def running_slurm() -> Iterator[Slurm]:
    """A Slurm that is ended with its folder. One at a time on a host: each numbers its jobs from 1, and a job's ports
    and temporary folders follow from its number."""
    with FileLock(Path(tempfile.gettempdir()) / "wsss-slurm-tests.lock"):
        folder = Path(tempfile.mkdtemp(prefix="wsss-slurm-"))
        folder.chmod(0o755)  # munged runs as its own user
        site = Slurm(folder)
        try:
            site.start()
            yield site
        finally:
            site.stop()
            shutil.rmtree(folder)
