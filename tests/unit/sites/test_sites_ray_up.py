"""Kind `ray-up` without a cluster: a launcher that runs on this machine what it is given; Ray's check of its file."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ray_sites import NASTY, SECRET, contents, job_of, program, secret_of, sent_of, site_of, states, writing_venv
from wsss_platform.errors import InputError, RunError
from wsss_platform.sites import ray_script, ray_up
from wsss_platform.sites.finding import find_site
from wsss_platform.sites.job import ARCHIVE, Job
from wsss_platform.sites.kinds import Check
from wsss_platform.sites.ledger import Status
from wsss_platform.sites.site import Site

ROOT = Path(__file__).parents[3]
TOKEN = "0123456789abcdef"


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    """Where programs write what they were given."""
    (tmp_path / "seen").mkdir()
    return tmp_path / "seen"


LAUNCHER = r"""
echo "$*" >>SEEN/launcher
case $1 in
    get-head-ip) [[ -e SEEN/up ]] || { echo "RuntimeError: Head node of cluster (c) not found!" >&2; exit 1; } ;;
    up) touch SEEN/up ;;
    rsync-up) cp -p "$3"/* "$4" ;;
    exec)
        [[ -e SEEN/up ]] || { echo "RuntimeError: Head node of cluster (c) not found!" >&2; exit 1; }
        echo "Fetched IP: 192.0.2.1"
        bash -c "$3" 2>&1 | sed 's/$/\r/'
        echo "Ran $3" ;;
esac
"""
"""`ray` on this machine, with a host on which it runs what it is given; the far end is a terminal."""
HEAD = r"""
printf '%s\0' "$@" RAY_AUTH_MODE="$RAY_AUTH_MODE" >>SEEN/head-words
cat SEEN/head
exit $(<SEEN/code)
"""
"""`ray` of the head, which says what stands in SEEN/head."""


@pytest.fixture
def launcher(tmp_path: Path, seen: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`ray`, `ssh` and `rsync` of this machine, and `ray` of the head; what they were given lies in this folder."""
    there = program(tmp_path / "here" / "ray", LAUNCHER.replace("SEEN", str(seen)))
    for name in ("ssh", "rsync"):
        program(tmp_path / "here" / name, "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "here"), prepend=":")
    monkeypatch.setattr(ray_up, "_program", lambda _: str(there))
    program(tmp_path / "venv" / "bin" / "ray", HEAD.replace("SEEN", str(seen)))
    (seen / "head").write_text("")
    (seen / "code").write_text("0")
    return seen


def cluster_file(path: Path, **more: Any) -> Path:
    given = {
        "cluster_name": "c",
        "provider": {"type": "local", "head_ip": "192.0.2.1", "worker_ips": ["192.0.2.2"]},
        "auth": {"ssh_user": "me"},
        **more,
    }
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    return path


def up_site(tmp_path: Path, cluster: Path, **more: Any) -> Site:
    environment = {"venv": str(tmp_path / "venv")}
    kind = {"kind": "ray-up", "ray_up": {"cluster": str(cluster)}, "ray": {}, "environment": environment}
    return site_of(tmp_path / "storage", **{**kind, **more})


class TestLauncher:
    @pytest.fixture
    def job(self, tmp_path: Path) -> Job:
        return job_of(up_site(tmp_path, cluster_file(tmp_path / "a cluster;x.yaml")), *NASTY)

    def test_it_starts_a_cluster_once_and_hands_over_the_job(self, job: Job, launcher: Path) -> None:
        assert ray_up.submit(job) == job.id
        ray_up.submit(job)
        verbs = [line.split()[0] for line in (launcher / "launcher").read_text().splitlines()]
        once = ["exec", "rsync-up", "exec"]
        assert verbs == ["get-head-ip", "up", *once, "get-head-ip", *once]  # a second `ray up` could end running jobs
        words = (launcher / "head-words").read_text().split("\0")
        assert words[words.index("--submission-id") + 1] == job.id
        assert words[words.index("--") + 1 : words.index("--") + 3] == ["bash", f"{job.folder}/start.sh"]

    def test_what_it_copies_makes_the_job_run(self, job: Job, launcher: Path, tmp_path: Path) -> None:
        writing_venv(tmp_path / "venv", launcher)
        site = job.site.model_copy(update={"secrets": secret_of(tmp_path)})
        job = job_of(site, *NASTY)
        ray_up.submit(job)
        folder = Path(job.folder)
        assert {path.name for path in folder.iterdir()} == {ARCHIVE, "start.sh", "workers.json"}
        assert {path.stat().st_mode & 0o777 for path in [folder, *folder.iterdir()]} == {0o700, 0o600}
        assert folder.parent.stat().st_mode & 0o777 != 0o700  # others submit there, too
        given = json.loads((folder / "workers.json").read_text())["env_vars"]
        assert given == ray_script.worker_variables(job)
        subprocess.run(["bash", f"{folder}/start.sh"], check=True, timeout=60)
        assert (launcher / "arguments").read_text().split("\0")[2:-1] == list(NASTY)
        assert SECRET.encode() not in contents(folder) + (launcher / "launcher").read_bytes()

    @pytest.mark.parametrize("has_token", [True, False])
    def test_the_token_of_the_head_is_used_where_it_has_one(
        self, job: Job, launcher: Path, has_token: bool, tmp_path: Path
    ) -> None:
        if has_token:
            (tmp_path / "home" / ".ray").mkdir(parents=True)
            (tmp_path / "home" / ".ray" / "auth_token").write_text(TOKEN)
        (launcher / "up").touch()
        ray_up.cancel(sent_of(job))
        mode = "token" if has_token else ""
        assert (launcher / "head-words").read_text().split("\0")[-2] == f"RAY_AUTH_MODE={mode}"

    @pytest.mark.parametrize(
        ("said", "state", "words"),
        [
            ("Status for job 'ID': PENDING\nStatus message: Job has not started yet.", "queued", "not started yet"),
            ("Status for job 'ID': RUNNING\nStatus message: Job is currently running.", "running", "running"),
            ("\n---\nJob 'ID' succeeded\n---\n", "finished", "succeeded"),
            ("Job 'ID' was stopped", "cancelled", "stopped"),
            (
                "Job 'ID' failed\nStatus message: failed with exit code 2, last available logs (truncated):\n"
                "Job 'ID' succeeded",
                "failed",
                "failed with exit code 2",
            ),
        ],
    )
    def test_status(self, job: Job, launcher: Path, said: str, state: str, words: str) -> None:
        (launcher / "up").touch()
        (launcher / "head").write_text(f"{ray_up._LOGS}: http://x\n{said.replace('ID', job.id)}\n")
        found = ray_up.status(sent_of(job))
        assert found.state == state
        assert words in found.said

    def test_a_forgotten_job_is_unknown(self, job: Job, launcher: Path) -> None:
        assert ray_up.status(sent_of(job)).state == "unknown"  # no head runs
        ray_up.cancel(sent_of(job))
        (launcher / "up").touch()
        (launcher / "head").write_text("RuntimeError: Request failed with status code 404: Job x does not exist\n.\n")
        (launcher / "code").write_text("1")
        assert "submit it again" in ray_up.status(sent_of(job)).said
        ray_up.cancel(sent_of(job))
        with pytest.raises(InputError, match="submit it again"):
            list(ray_up.logs(sent_of(job), follow=True))

    def test_logs_are_those_of_the_job(self, job: Job, launcher: Path) -> None:
        (launcher / "up").touch()
        said = f"Status for job '{job.id}': RUNNING\n$(x)  {{}}\n\nno line end"
        (launcher / "head").write_text(f"motd\n{ray_up._LOGS}: http://x\n{said}")
        assert "".join(ray_up.logs(sent_of(job), follow=False)) == f"{said}\n"

    def test_logs_that_break_off(self, job: Job, launcher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (launcher / "up").touch()
        (launcher / "head").write_text(f"{ray_up._LOGS}: http://x\nepoch 1\n")
        (launcher / "code").write_text("1")
        running = Status(id=job.id, state="running", said="")
        monkeypatch.setattr(ray_up, "status", lambda _: running)
        found = ray_up.logs(sent_of(job), follow=True)
        assert next(found) == "epoch 1\n"
        with pytest.raises(RunError, match="the connection to the head was lost; the job goes on"):
            next(found)

    def test_a_refusal_has_ray_s_reason(self, job: Job, launcher: Path) -> None:
        (launcher / "head").write_text("Traceback:\nValueError: Job with submission_id x already exists.\n")
        (launcher / "code").write_text("1")
        with pytest.raises(InputError, match=r"refuses the job: ValueError: .* already exists\.$"):
            ray_up.submit(job)

    def test_a_head_without_ray_says_what_to_do(self, job: Job, launcher: Path) -> None:
        (launcher / "head").write_text("ConnectionError: Failed to connect to Ray at address: http://127.0.0.1:8265.\n")
        (launcher / "code").write_text("1")
        with pytest.raises(RunError, match=r"no Ray on it; ray up --yes .* starts it$"):
            ray_up.submit(job)

    def test_words_survive_two_shells(self, job: Job) -> None:
        shown = [shlex.split(line, comments=True) for line in ray_up.commands(job)]
        assert [words[2] for words in shown if words[1] == "exec"] == [job.site.ray_up.cluster] * 2
        far = shlex.split(shown[-1][3])
        assert far[far.index("--metadata-json") + 1] == json.dumps({"site": "mine", "commit": "none"})


class TestClusterFile:
    def said(self, tmp_path: Path, **more: Any) -> dict[str, Check]:
        path = cluster_file(tmp_path / "c.yaml", **more)
        return {found.what: found for found in ray_up.look(up_site(tmp_path, path, resources={"nodes": 2}))}

    def test_a_good_one(self, tmp_path: Path, launcher: Path) -> None:
        found = self.said(tmp_path)
        assert {check.state for check in found.values()} <= {"ok", "skipped"}
        assert found["head"].state == "skipped"
        assert not (launcher / "launcher").exists()  # nothing was called

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ({"max_wokers": 3}, "unknown field of the file 'max_wokers'; did you mean 'max_workers'?"),
            ({"auth": {"ssh_usr": "x"}}, "unknown field of auth 'ssh_usr'; did you mean 'ssh_user'?"),
            ({"provider": {"type": "awss"}}, "unknown provider.type 'awss'; did you mean 'aws'?"),
            ({"provider": {"type": "local", "hed_ip": "x"}}, "Please supply a `head_ip`"),
            ({"max_workers": "a"}, "max_workers: 'a' is not of type 'integer'"),
            ({"provider": None}, "provider: None is not of type 'object'"),
        ],
    )
    def test_a_wrong_field_is_named(
        self, tmp_path: Path, more: dict[str, Any], said: str, capfd: pytest.CaptureFixture[str], launcher: Path
    ) -> None:
        found = self.said(tmp_path, **more)["cluster"]
        assert found.state == "wrong"
        assert said in found.said
        assert "\n" not in found.said
        assert not "".join(capfd.readouterr())  # Ray's own prints
        with pytest.raises(InputError, match=r"ray_up\.cluster") as raised:
            ray_up.submit(job_of(up_site(tmp_path, tmp_path / "c.yaml")))
        assert raised.value.field == "ray_up.cluster"
        assert not (launcher / "launcher").exists()

    def test_no_yaml_and_no_file(self, tmp_path: Path) -> None:
        (tmp_path / "c.yaml").write_text("a: [1,\nb: {", encoding="utf-8")
        for name, said in (("c.yaml", "no YAML"), ("d.yaml", "no such file")):
            found = {check.what: check for check in ray_up.look(up_site(tmp_path, tmp_path / name))}
            assert said in found["cluster"].said

    def test_a_provider_without_its_package_is_skipped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "boto3", None)
        found = self.said(tmp_path, provider={"type": "aws", "region": "us-west-2"})["provider"]
        assert found.state == "skipped"
        assert "boto3" in found.said

    def test_key_room_and_image(self, tmp_path: Path) -> None:
        found = self.said(tmp_path, auth={"ssh_user": "me", "ssh_private_key": "~/no.pem"}, max_workers=1)
        assert found["ssh key"].state == "wrong"
        site = up_site(tmp_path, tmp_path / "c.yaml", resources={"nodes": 3}, environment={"image": "a/b:1"})
        wrong = states(ray_up.look(site))
        assert wrong["resources"] == "wrong"
        assert wrong["image"] == "wrong"
        docker = {"image": "a/b:1", "container_name": "c"}
        cluster_file(tmp_path / "c.yaml", docker=docker)
        assert "image" not in states(ray_up.look(site))

    def test_a_lock_is_refused(self, tmp_path: Path) -> None:
        site = up_site(tmp_path, cluster_file(tmp_path / "c.yaml"), environment={"lock": "/shared/l"})
        assert states(ray_up.look(site))["environment"] == "wrong"


class TestExamples:
    def test_they_are_legal_and_find_the_cluster_file(self) -> None:
        folder = ROOT / "cluster" / "sites"
        assert find_site(str(folder / "ray.toml"))[2].kind == "ray"
        site = find_site(str(folder / "ray-up.toml"))[2]
        assert site.ray_up.cluster == str(folder / "ray-up" / "ssh-hosts.yaml")
        found = states(ray_up.look(site))
        assert (found["cluster"], found["resources"]) == ("ok", "ok")

    @pytest.mark.parametrize("given", ["c.yaml", "/abs/c.yaml", "~/c.yaml"])
    def test_a_relative_cluster_lies_beside_the_site_file(self, tmp_path: Path, given: str) -> None:
        (tmp_path / "mine.toml").write_text(
            f'kind = "ray-up"\nstorage = "/s"\n[ray_up]\ncluster = "{given}"\n', encoding="utf-8"
        )
        wanted = {"c.yaml": f"{tmp_path}/c.yaml", "~/c.yaml": f"{tmp_path}/home/c.yaml"}
        assert find_site(str(tmp_path / "mine.toml"))[2].ray_up.cluster == wanted.get(given, given)
