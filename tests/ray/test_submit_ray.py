"""Kinds `ray` and `ray-up` on a real Ray of two nodes: sent, followed, trained, cancelled.

The cluster is another process with a token. The launcher's commands are the real ones; only `ssh` and `rsync` are
stand-ins, which do on this machine what a host would do.
"""

from __future__ import annotations

import functools
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from ray_sites import contents, program
from real_ray import TRAIN, Cluster, running_cluster, send_to, tree, wait_for
from wsss_platform.errors import InputError
from wsss_platform.run.records import RunRecord
from wsss_platform.sites import ray_jobs, ray_up
from wsss_platform.sites.code import Code
from wsss_platform.sites.job import Job
from wsss_platform.sites.ledger import Sent

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


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes of two CPUs."""
    with running_cluster(2, 2) as running:
        yield running


@pytest.fixture
def send(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sent]:
    """(command, *trees, **site) -> what was sent."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", cluster.token)
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")  # of another cluster: Ray's own clients would go there
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return functools.partial(send_to, cluster, tmp_path / "storage")


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
