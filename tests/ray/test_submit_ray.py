"""Kinds `ray` and `ray-up` on a real Ray of two nodes: sent, followed, trained, cancelled.

The cluster is another process with a token. The launcher's commands are the real ones; only `ssh` and `rsync` are
stand-ins, which do on this machine what a host would do.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ray_sites import contents, program
from wsss_platform.errors import InputError
from wsss_platform.run.records import RunRecord
from wsss_platform.sites import ray_jobs, ray_up
from wsss_platform.sites.code import Code, Tree
from wsss_platform.sites.job import Job, new_id
from wsss_platform.sites.kinds import Client
from wsss_platform.sites.ledger import Sent, note_sent
from wsss_platform.sites.site import Site

ROOT = Path(__file__).parents[2]
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
node = {"num_cpus": 2, "object_store_memory": 128 * 1024**2}
dashboard = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": int(sys.argv[1])}
cluster = Cluster(initialize_head=True, head_node_args={**node, **dashboard})
cluster.add_node(**node)
print(cluster.webui_url, flush=True)
sys.stdin.read()
cluster.shutdown()
"""
SMALL = ["data.sample.train=8", "data.sample.val=4", "data.sample.size=64", "train.crop=64", "backbone.weights=none"]
SMALL += ["maps.scales=[1.0]", "maps.flip=false"]
TRAIN = ["train", "cam", *(word for setting in SMALL for word in ("--set", setting)), "--wandb", "disabled"]
PROBE = """
import importlib.util, os, pathlib, sys
if "WSSS_STORAGE" in os.environ:
    found = importlib.util.find_spec("wsss_platform")
    path = pathlib.Path(os.environ["WSSS_STORAGE"], f"probe-{os.getpid()}")
    path.write_text(f"{found.origin}\\n{' '.join(sys.orig_argv)}")
"""
"""Of a work tree that is sent, too: every Python that has it on its path says where it would import from."""
AUTHOR = ("-c", "user.name=test", "-c", "user.email=test@example.org")
SSH = r"""
while (($#)); do case $1 in -tt) shift ;; -o | -i) shift 2 ;; *) break ;; esac; done
shift
unset RAY_AUTH_MODE RAY_AUTH_TOKEN
export HOME=HOME_THERE RAY_API_SERVER_ADDRESS=DASHBOARD
set -o pipefail
bash -c "$*" 2>&1 | sed --unbuffered 's/$/\r/'
"""
"""[-tt] [-o OPTION | -i KEY]... USER@HOST COMMAND..., with a terminal's line ends. The address is the test's."""
RSYNC = r"""
target=${*: -1}
if [[ -d ${*: -2:1} ]]; then cp -a "${*: -2:1}/." "${target#*:}"; fi
"""


@dataclass(frozen=True)
class Cluster:
    """What a test needs of it."""

    address: str
    """Of its dashboard."""
    token: str
    temporary: Path
    """Its logs and all else that Ray writes."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes of two CPUs, in a process that ignores Ctrl-C, as one in the background does."""
    temporary = Path(tempfile.mkdtemp(prefix="wsss-"))  # short: Ray's sockets lie below
    token = secrets.token_hex(16)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHON"))}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_TMPDIR": str(temporary)}
    environment |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(
        ["bash", "-c", 'trap "" INT; exec "$@"', "quiet", sys.executable, "-c", CLUSTER, str(free_port())],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address, "the cluster did not start"
        yield Cluster(f"http://{address}", token, temporary)
    finally:
        process.stdin.close()
        process.wait(60)
        shutil.rmtree(temporary, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port: int = place.getsockname()[1]
    return port


@pytest.fixture
def send(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sent]:
    """(command, *trees, **site) -> what was sent: this commit's code and others, with settings of a site file."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", cluster.token)
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")  # of another cluster: Ray's own clients would go there
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def sent(command: list[str], *own: Tree, **more: Any) -> Sent:
        (tmp_path / "storage").mkdir(exist_ok=True)
        code = Code((tree(ROOT, "wsss-platform", "platform", "methods"), *own))
        given = {
            "kind": "ray",
            "storage": str(tmp_path / "storage"),
            "environment": {"venv": str(Path(sys.executable).parents[1])},
            "ray": {"address": cluster.address},
            **more,
        }
        job = Job(new_id("test"), "test", Site.model_validate(given), tuple(command), code)
        client: Client = ray_jobs if job.site.kind == "ray" else ray_up
        assert not [check for check in client.check(job) if check.state == "wrong"]
        return note_sent(job, client.submit(job))

    return sent


def tree(root: Path, name: str, *paths: str) -> Tree:
    """The commit of a work tree."""
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    commit = head.stdout.strip()
    return Tree(name, root, commit, "", (), paths, commit)


def wait_for(client: Client, sent: Sent, *wanted: str) -> str:
    limit = time.monotonic() + 120
    while (found := client.status(sent)).state not in wanted:
        assert time.monotonic() < limit, found
        time.sleep(0.5)
    return found.said


def processes(of: str) -> dict[int, bytes]:
    """Number -> variables of each process with this in its environment."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                variables = (folder / "environ").read_bytes()
            except OSError:
                continue
            if of.encode() in variables:
                found[int(folder.name)] = variables
    return found


def command_lines() -> bytes:
    """Of all processes."""
    found = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += path.read_bytes()
        except OSError:
            continue
    return found


def test_a_command_is_sent_followed_and_finished(send: Callable[..., Sent]) -> None:
    sent = send(["methods"])
    assert ray_jobs.status(sent).state in ("queued", "running")
    followed = list(ray_jobs.logs(sent, follow=True))
    assert any(line.startswith("cam ") for line in followed)
    assert ray_jobs.status(sent).state == "finished"
    assert list(ray_jobs.logs(sent, follow=False)) == followed
    ray_jobs.cancel(sent)
    assert ray_jobs.status(sent).state == "finished"


def test_a_command_that_fails_says_its_exit_code(send: Callable[..., Sent]) -> None:
    sent = send(["show", "$(touch x) a b;c"])
    assert "$(touch x) a b;c" in "".join(ray_jobs.logs(sent, follow=True))
    found = ray_jobs.status(sent)
    assert (found.state, found.said) == ("failed", "exit code 2")
    assert not list(Path(sent.site.storage).rglob("x"))


def test_a_training_leaves_its_record_on_the_storage(send: Callable[..., Sent], tmp_path: Path) -> None:
    """Command and workers import the code that was sent."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "sitecustomize.py").write_text(PROBE)
    for words in (["init", "--quiet"], ["add", "."], [*AUTHOR, "commit", "--quiet", "--message=probe"]):
        subprocess.run(["git", "-C", str(tmp_path / "own"), *words], check=True)
    own = tree(tmp_path / "own", "code", ".")
    sent = send([*TRAIN, "--set", "train.epochs=1", "--until", "score", "--name", "first"], own)
    said = "".join(ray_jobs.logs(sent, follow=True))
    assert ray_jobs.status(sent).state == "finished", said
    record = RunRecord.model_validate_json((Path(sent.site.storage) / "runs" / "first" / "run.json").read_text())
    assert record.status == "finished"
    assert record.scores is not None
    seen = [path.read_text().splitlines() for path in Path(sent.site.storage).glob("probe-*")]
    assert {origin for origin, _ in seen} == {f"{sent.folder}/code/wsss-platform/platform/wsss_platform/__init__.py"}
    for part in ("wsss_platform.cli train", "default_worker.py"):
        assert any(part in words for _, words in seen)


def test_a_long_one_with_a_secret_is_cancelled(send: Callable[..., Sent], cluster: Cluster, tmp_path: Path) -> None:
    """As Ctrl-C would: it ends after its epoch. The secret is in its environment, and nowhere else."""
    secret = secrets.token_hex(16)
    (tmp_path / "key").write_text(secret)
    given = {"WSSS_TEST_KEY": f"file:{tmp_path}/key"}
    sent = send([*TRAIN, "--set", "train.epochs=3000", "--name", "long"], secrets=given)
    for line in ray_jobs.logs(sent, follow=True):
        if "epoch 1/" in line:
            break
    assert ray_jobs.status(sent).state == "running"
    assert processes(f"WSSS_TEST_KEY={secret}")
    assert secret.encode() not in command_lines()
    ray_jobs.cancel(sent)
    wait_for(ray_jobs, sent, "cancelled")
    assert "interrupted; the same command continues" in "".join(ray_jobs.logs(sent, follow=False))
    places = (Path(sent.site.storage), cluster.temporary, tmp_path / "state")
    assert secret.encode() not in b"".join(map(contents, places))
    with ray_jobs._client(sent.site) as client:
        known = client.get_job_info(sent.handle)
    assert secret not in str(known)
    assert known.metadata["site"] == "test"
    assert known.entrypoint == "bash start.sh"


def test_what_the_cluster_does_not_know(send: Callable[..., Sent], cluster: Cluster) -> None:
    sent = send(["methods"])
    unknown = sent.model_copy(update={"handle": "test-0101-000000-0000"})
    assert ray_jobs.status(unknown).state == "unknown"
    ray_jobs.cancel(unknown)
    with pytest.raises(InputError, match="submit it again"):
        list(ray_jobs.logs(unknown, follow=True))
    wait_for(ray_jobs, sent, "finished")
    job = Job(sent.id, "test", sent.site, ("methods",), Code(()))
    assert ("job id", "wrong") in [(check.what, check.state) for check in ray_jobs.check(job)]
    with pytest.raises(
        InputError, match=f"refuses the job: ValueError: Job with submission_id {sent.id} already exists"
    ):
        ray_jobs.submit(job)


def test_a_wrong_token_is_refused(send: Callable[..., Sent], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 32)
    with pytest.raises(AssertionError, match="refuses the token"):
        send(["methods"])


def test_the_launcher_starts_a_head_and_hands_over_a_job(
    send: Callable[..., Sent], cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ray up`, `ray rsync-up` and `ray exec` as they are; the head's Ray is the test's."""
    token = tmp_path / "home" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text(cluster.token)
    program(
        tmp_path / "bin" / "ssh",
        SSH.replace("HOME_THERE", str(tmp_path / "home")).replace("DASHBOARD", cluster.address),
    )
    program(tmp_path / "bin" / "rsync", RSYNC)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    for name in ("TMPDIR", "RAY_TMPDIR"):  # the launcher's state
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS")
    path = tmp_path / "hosts.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "cluster_name": f"test-{secrets.token_hex(4)}",
                "provider": {"type": "local", "head_ip": "127.0.0.1", "worker_ips": []},
                "auth": {"ssh_user": "me"},
                "head_start_ray_commands": [f"touch {tmp_path}/started"],
                "worker_start_ray_commands": ["true"],
            }
        )
    )
    sent = send(["methods"], kind="ray-up", ray={}, ray_up={"cluster": str(path)})
    assert (tmp_path / "started").is_file()
    followed = list(ray_up.logs(sent, follow=True))
    assert any(line.startswith("cam ") for line in followed)
    assert ray_up.status(sent).state == "finished"
    unknown = sent.model_copy(update={"handle": "test-0101-000000-0000"})
    assert ray_up.status(unknown).state == "unknown"
    ray_up.cancel(unknown)
