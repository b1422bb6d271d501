"""Kind `ray` without a cluster: scripts that bash really runs, and checks of a dashboard that is not Ray's."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import ray

from ray_sites import (
    NASTY,
    NOBODY,
    SECRET,
    contents,
    job_of,
    program,
    secret_of,
    sent_of,
    site_of,
    states,
    writing_venv,
)
from wsss_platform.errors import InputError, RunError
from wsss_platform.sites import ray_jobs, ray_script, ray_up
from wsss_platform.sites.job import ARCHIVE, Job

TOKEN = "0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    """Where `venv`'s Python writes what it was given."""
    (tmp_path / "seen").mkdir()
    return tmp_path / "seen"


@pytest.fixture
def venv(tmp_path: Path, seen: Path) -> str:
    return writing_venv(tmp_path / "venv", seen)


@pytest.fixture
def secret(tmp_path: Path) -> dict[str, str]:
    return secret_of(tmp_path)


def run_start(job: Job, folder: Path) -> None:
    """What Ray does with what goes up."""
    folder.mkdir()
    (folder / ARCHIVE).write_bytes(job.archive())
    (folder / ray_script.START).write_text(ray_script.start(job), encoding="utf-8")
    subprocess.run(["bash", ray_script.START], cwd=folder, check=True, timeout=60)


class TestStart:
    def test_every_argument_arrives_as_it_is(self, tmp_path: Path, venv: str, seen: Path) -> None:
        job = job_of(site_of(tmp_path / "storage", environment={"venv": venv}), *NASTY)
        run_start(job, tmp_path / "up")
        assert (seen / "arguments").read_text().split("\0")[:-1] == ["-m", "wsss_platform.cli", *NASTY]
        assert (seen / "folder").read_text().strip() == job.folder
        assert not list(tmp_path.rglob("x"))

    def test_the_folder_is_private_and_what_the_command_writes_is_as_usual(
        self, tmp_path: Path, venv: str, seen: Path
    ) -> None:
        job = job_of(site_of(tmp_path / "storage", environment={"venv": venv}))
        run_start(job, tmp_path / "up")
        folder = Path(job.folder)
        assert (folder / "files" / "own.toml").read_bytes() == b"seed = 1\n"
        assert (folder / "run.sh").read_text() == job.entry()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.parent.stat().st_mode & 0o777 != 0o700  # others submit there, too
        usual = subprocess.run(["bash", "-c", "umask"], capture_output=True, text=True, check=True).stdout
        assert (seen / "umask").read_text() == usual

    def test_the_secret_reaches_the_command_and_no_file(
        self, tmp_path: Path, venv: str, seen: Path, secret: dict[str, str]
    ) -> None:
        job = job_of(site_of(tmp_path / "storage", environment={"venv": venv}, secrets=secret))
        run_start(job, tmp_path / "up")
        variables = (seen / "variables").read_text().split("\0")
        assert f"WANDB_API_KEY={SECRET}" in variables
        assert "RAY_OVERRIDE_JOB_RUNTIME_ENV=1" in variables
        assert SECRET.encode() not in contents(tmp_path / "storage") + contents(tmp_path / "up")

    def test_a_command_hears_ctrl_c_although_ray_ignores_it(self, tmp_path: Path, venv: str, seen: Path) -> None:
        program(Path(venv) / "bin" / "python", f"grep SigIgn /proc/$$/status >{seen}/signals")
        folder = tmp_path / "up"
        job = job_of(site_of(tmp_path / "storage", environment={"venv": venv}))
        folder.mkdir()
        (folder / ARCHIVE).write_bytes(job.archive())
        (folder / ray_script.START).write_text(ray_script.start(job), encoding="utf-8")
        subprocess.run(["bash", "-c", "trap '' INT; exec bash start.sh"], cwd=folder, check=True, timeout=60)
        assert not int((seen / "signals").read_text().split()[1], 16) & 2  # bit of signal 2, SIGINT

    def test_without_an_archive_it_fails(self, tmp_path: Path, venv: str, seen: Path) -> None:
        job = job_of(site_of(tmp_path / "storage", environment={"venv": venv}))
        (tmp_path / "start.sh").write_text(ray_script.start(job), encoding="utf-8")
        done = subprocess.run(["bash", "start.sh"], cwd=tmp_path, capture_output=True, check=False, timeout=60)
        assert done.returncode
        assert not list(seen.iterdir())


class TestWhatGoesUp:
    def test_workers_get_the_frozen_code_and_no_secret(self, secret: dict[str, str]) -> None:
        site = site_of(Path("/shared/s"), secrets=secret, variables={"XDG_CACHE_HOME": "/shared/cache"})
        job = job_of(site, *NASTY)
        given = ray_script.worker_variables(job)
        assert given.items() >= {"WSSS_STORAGE": "/shared/s", "XDG_CACHE_HOME": "/shared/cache"}.items()
        assert not given.keys() & secret.keys()

    def test_no_file_and_no_command_has_a_secret(self, secret: dict[str, str]) -> None:
        for kind, more in (("ray", {}), ("ray-up", {"ray": {}, "ray_up": {"cluster": "/c.yaml"}})):
            job = job_of(site_of(Path("/shared/s"), secrets=secret, kind=kind, **more), *NASTY)
            module: Any = ray_jobs if kind == "ray" else ray_up
            said = "\n".join([*module.files(job).values(), *module.commands(job)])
            assert SECRET not in said
            assert job.folder in said

    def test_the_command_shown_is_one_of_ray(self) -> None:
        job = job_of(site_of(Path("/shared/s"), variables={"NAMES": "a b;c"}))
        (shown,) = ray_jobs.commands(job)
        words = shlex.split(shown, comments=True)
        environment = json.loads(words[words.index("--runtime-env-json") + 1])
        assert environment["env_vars"]["NAMES"] == "a b;c"
        assert words[-2:] == ["bash", "start.sh"]
        assert set(ray_jobs.files(job)) == {"start.sh", f"{job.folder}/run.sh"}

    def test_pieces_of_output_become_lines(self) -> None:
        assert list(ray_jobs.lines(["a", "b\nc\n\nd", "", "e"])) == ["ab\n", "c\n", "\n", "de\n"]


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("more", "named"),
        [
            ({"environment": {"lock": "/shared/requirements.lock"}}, "environment.lock"),
            ({"environment": {"image": "example.org/i:1"}}, "environment.image"),
            ({"variables": {"CACHE": "/x/$USER"}}, "variables.CACHE"),
        ],
    )
    def test_before_anything_is_sent(self, more: dict[str, Any], named: str) -> None:
        job = job_of(site_of(Path("/shared/s"), **more))
        assert [found.said.partition(":")[0] for found in ray_jobs.check(job) if found.state == "wrong"] == [named]
        with pytest.raises(InputError, match=named) as raised:
            ray_jobs.submit(job)
        assert raised.value.field == named

    def test_an_address_that_nobody_answers_is_one_line(self) -> None:
        job = job_of(site_of(Path("/shared/s")))
        assert states(ray_jobs.check(job)) == {"environment": "ok", "address": "skipped", "job id": "skipped"}
        calls: list[Callable[[], object]] = [
            lambda: ray_jobs.submit(job),
            lambda: ray_jobs.status(sent_of(job)),
            lambda: list(ray_jobs.logs(sent_of(job), follow=True)),
            lambda: ray_jobs.cancel(sent_of(job)),
        ]
        for call in calls:
            with pytest.raises(RunError, match=rf"^ray\.address {NOBODY}: nobody answers \([^\n]+\)$"):
                call()

    @pytest.mark.parametrize("token", ["two words", "a\nb: c"])
    def test_what_is_no_token_is_not_shown(self, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
        with pytest.raises(InputError, match="RAY_AUTH_TOKEN: expected one word") as raised:
            ray_jobs.status(sent_of(job_of(site_of(Path("/shared/s")))))
        assert token not in str(raised.value)

    def test_a_token_file_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/no/token")
        with pytest.raises(InputError, match="RAY_AUTH_TOKEN_PATH: /no/token cannot be read"):
            ray_jobs.status(sent_of(job_of(site_of(Path("/shared/s")))))


class Dashboard:
    """What Ray's dashboard answers to a check; it asks for TOKEN."""

    def __init__(self) -> None:
        here = ".".join(map(str, sys.version_info[:3]))
        node = {"state": "ALIVE", "resources_total": {"CPU": 8.0, "GPU": 2.0}}
        dead = {"state": "DEAD", "resources_total": {"CPU": 64.0, "GPU": 8.0}}
        self.answers: dict[str, Any] = {
            "/api/version": {"ray_version": ray.__version__},
            "/api/v0/cluster_metadata": {"data": {"pythonVersion": here}},
            "/api/v0/nodes": {"data": {"result": {"result": [node, node, dead]}}},
        }
        answers = self.answers

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = answers.get(self.path.partition("?")[0])
                code = 200 if found is not None else 404
                if self.headers["Authorization"] != f"Bearer {TOKEN}":
                    code = 403 if self.headers["Authorization"] else 401
                self.send_response(code)
                self.end_headers()
                self.wfile.write(json.dumps(found).encode())

            def log_message(self, *_: object) -> None:
                """Silence."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dashboard]:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    fake = Dashboard()
    thread = threading.Thread(target=fake.server.serve_forever)
    thread.start()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()
    thread.join()


class TestLook:
    def job(self, dashboard: Dashboard, **resources: Any) -> Job:
        return job_of(site_of(Path("/shared/s"), ray={"address": dashboard.address}, resources=resources))

    def test_all_is_well(self, dashboard: Dashboard) -> None:
        found = states(ray_jobs.check(self.job(dashboard, nodes=2, cpus_per_node=8, gpus_per_node=2)))
        assert list(found) == ["environment", "address", "Ray", "Python", "resources", "job id"]
        assert set(found.values()) == {"ok"}

    @pytest.mark.parametrize(
        ("path", "answer", "what"),
        [
            ("/api/version", {"ray_version": "1.13.0"}, "Ray"),
            ("/api/v0/cluster_metadata", {"data": {"pythonVersion": "2.7.18"}}, "Python"),
            ("/api/jobs/mine-1130-120000-abcd", {"status": "RUNNING"}, "job id"),
        ],
    )
    def test_what_does_not_fit_is_wrong(self, dashboard: Dashboard, path: str, answer: Any, what: str) -> None:
        dashboard.answers[path] = answer
        assert [name for name, state in states(ray_jobs.check(self.job(dashboard))).items() if state == "wrong"] == [
            what
        ]

    @pytest.mark.parametrize("wanted", [{"nodes": 3}, {"cpus_per_node": 9}, {"gpus_per_node": 3, "cpus_per_node": 8}])
    def test_too_few_nodes_are_wrong(self, dashboard: Dashboard, wanted: dict[str, int]) -> None:
        assert states(ray_jobs.check(self.job(dashboard, **wanted)))["resources"] == "wrong"

    @pytest.mark.parametrize("token", ["", "another"])
    def test_a_refused_token_is_one_clear_error(
        self, dashboard: Dashboard, token: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
        assert states(ray_jobs.check(self.job(dashboard)))["address"] == "wrong"
        with pytest.raises(InputError, match=r"refuses the token; expected RAY_AUTH_MODE=token and [^\n]+$"):
            ray_jobs.submit(self.job(dashboard))

    @pytest.mark.parametrize("named", [True, False])
    def test_the_token_of_a_file(
        self, dashboard: Dashboard, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "token" if named else tmp_path / "home" / ".ray" / "auth_token"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{TOKEN}\n", encoding="utf-8")
        monkeypatch.delenv("RAY_AUTH_TOKEN")
        if named:
            monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
        assert states(ray_jobs.look(self.job(dashboard).site))["address"] == "ok"

    def test_another_server_is_no_dashboard(self, dashboard: Dashboard) -> None:
        dashboard.answers.clear()
        assert states(ray_jobs.look(self.job(dashboard).site))["address"] == "skipped"
        with pytest.raises(RunError, match="no dashboard of Ray"):
            ray_jobs.status(sent_of(self.job(dashboard)))


class Young:
    """A client of a cluster whose agents come after so many calls."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __enter__(self) -> Young:
        return self

    def __exit__(self, *_: object) -> None: ...

    def submit_job(self, **asked: Any) -> str:
        self.calls -= 1
        if self.calls >= 0:
            raise RuntimeError("Request failed with status code 500: No available agent to submit job, please try.")
        return str(asked["submission_id"])


def test_a_cluster_that_has_just_started_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(site_of(tmp_path / "storage"))
    monkeypatch.setattr(ray_jobs, "PAUSE", 0.0)
    monkeypatch.setattr(ray_jobs, "_client", lambda site: Young(2))
    assert ray_jobs.submit(job) == job.id
    monkeypatch.setattr(ray_jobs, "PATIENCE", 0.0)
    with pytest.raises(RunError, match="takes no job yet: .*No available agent"):
        ray_jobs.submit(job)
