"""Sites of kind slurm without a Slurm: programs of its names stand on PATH and write down how they were called."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wsss_platform.config import override
from wsss_platform.errors import InputError, RunError
from wsss_platform.sites import shell as shells
from wsss_platform.sites import slurm
from wsss_platform.sites.code import Code
from wsss_platform.sites.finding import find_site
from wsss_platform.sites.job import Job
from wsss_platform.sites.kinds import Check, client_of
from wsss_platform.sites.ledger import Sent
from wsss_platform.sites.site import Site

SECRET = "a-value-that-nobody-may-read"
SINFO = "echo 'main*|up|infinite|4'; echo 'gpu|up|30:00|2'; echo 'old|down|1-00:00:00|1'"
Put = Callable[[str, str], Path]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """put(NAME, BASH): a program on PATH that appends its arguments to calls/NAME; where that file lies."""
    programs, calls = tmp_path / "programs", tmp_path / "calls"
    programs.mkdir()
    calls.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

    def make(name: str, script: str) -> Path:
        (programs / name).write_text(f'#!/bin/bash\nprintf "%s\\n" "$*" >>{calls / name}\n{script}\n')
        (programs / name).chmod(0o755)
        return calls / name

    return make


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "storage").mkdir()
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    site = Site.model_validate(
        {
            "kind": "slurm",
            "storage": str(tmp_path / "storage"),
            "environment": {"venv": str(tmp_path / "venv")},
            "secrets": {"WANDB_API_KEY": f"file:{secret}"},
        }
    )
    return Job("here-1130-010203-abcd", "here", site, ("methods",), Code(()), {"space.toml": b"x = 1\n"})


def changed(job: Job, **typed: object) -> Job:
    """The job with settings of its site replaced: slurm__partition="gpu"."""
    site = override(job.site, {name.replace("__", "."): value for name, value in typed.items()})
    return Job(job.id, job.site_name, site, job.command, job.code, job.files)


def sent(job: Job, handle: str = "12") -> Sent:
    return Sent(
        id=job.id, site_name="here", site=job.site, handle=handle, command="methods", commit=None, sent="2026-11-30"
    )


def by_name(checks: Iterator[Check]) -> dict[str, Check]:
    return {each.what: each for each in checks}


# --- what is sent ---------------------------------------------------------------------------------------


def test_it_is_a_client() -> None:
    client = client_of("slurm")
    for name in ("files", "commands", "check", "look", "submit", "status", "logs", "cancel"):
        assert callable(getattr(client, name))


def test_the_shipped_example_is_a_site() -> None:
    name, path, site = find_site("slurm")
    assert (name, path.name, site.kind) == ("slurm", "slurm.toml", "slurm")
    assert (site.storage, site.environment.venv) == ("/shared/wsss-storage", "/shared/venv")
    assert (site.resources.nodes, site.resources.gpus_per_node) == (2, 4)


def test_no_file_and_no_command_holds_a_secret(job: Job) -> None:
    written = slurm.files(job)
    assert list(written) == [f"{job.folder}/job.sbatch", f"{job.folder}/ray.sbatch"]
    assert "WANDB_API_KEY" in written[f"{job.folder}/job.sbatch"]
    assert not [text for text in [*written.values(), *slurm.commands(job)] if SECRET in text]


def test_a_login_that_is_lost_while_slurm_answers_is_no_refusal(job: Job, put: Put) -> None:
    """The job may be in the queue, so what was written down of it must stay: no InputError."""
    put("ssh", '[[ "$*" != *sbatch\\ --parsable* && "$*" != *"env -i"* ]] || exit 255\nbash -c "${*: -1}"')
    with pytest.raises(RunError, match="may be in the queue all the same"):
        slurm.submit(changed(job, slurm__login="me@login"))
    assert Path(job.folder, "job.sbatch").exists()


def test_commands_are_those_that_run(job: Job) -> None:
    *_, last = slurm.commands(changed(job, slurm__login="me@login"))
    assert last == f"ssh -o BatchMode=yes -o ConnectTimeout=15 me@login -- 'sbatch --parsable {job.folder}/job.sbatch'"
    locked = changed(job, environment={"lock": "/s/requirements.lock", "venv": None})
    assert f"cp -- /s/requirements.lock {job.folder}/requirements.lock" in slurm.commands(locked)


def test_submit_writes_the_folder_and_keeps_the_shells_variables_back(
    job: Job, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = put("sbatch", f'env >"{job.site.storage}/environment"; echo "a warning" >&2; echo "123;cluster"')
    for name, value in {"SBATCH_PARTITION": "other", "RAY_ADDRESS": "x", "WANDB_API_KEY": SECRET}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_CONF", "/etc/my slurm.conf")
    assert slurm.submit(job) == "123"
    assert calls.read_text() == f"--parsable {job.folder}/job.sbatch\n"
    folder = Path(job.folder)
    assert {path.name for path in folder.iterdir()} == {"code.tar.gz", "job.sbatch", "ray.sbatch", "files"}
    assert (folder / "files" / "space.toml").read_text() == "x = 1\n"
    with tarfile.open(fileobj=io.BytesIO((folder / "code.tar.gz").read_bytes())) as archive:
        assert archive.getnames() == ["files/space.toml"]
    got = dict(line.partition("=")[::2] for line in Path(job.site.storage, "environment").read_text().splitlines())
    assert got["SLURM_CONF"] == "/etc/my slurm.conf"
    assert not {"SBATCH_PARTITION", "RAY_ADDRESS", "WANDB_API_KEY", "PYTHONPATH"} & set(got)


def test_what_is_refused_leaves_nothing(job: Job, put: Put) -> None:
    put("sbatch", "echo 'sbatch: error: Batch job submission failed: Invalid account or account/partition' >&2; exit 1")
    with pytest.raises(InputError, match="^Slurm refuses the job: Invalid account.*slurm.account: mine") as caught:
        slurm.submit(changed(job, slurm__account="mine"))
    assert "\n" not in str(caught.value)
    assert not list(Path(job.site.storage, "submissions").iterdir())


def test_a_controller_that_is_away_is_no_fault_of_the_input(job: Job, put: Put) -> None:
    put("sbatch", "echo 'sbatch: error: Unable to contact slurm controller (connect failure)' >&2; exit 1")
    with pytest.raises(RunError, match="Unable to contact"):
        slurm.submit(job)
    assert not Path(job.folder).exists()
    put("sbatch", "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv' >&2; exit 1")
    with pytest.raises(RunError, match="Socket timed out"):
        slurm.submit(job)
    assert Path(job.folder).exists(), "it may be in the queue"


def test_an_answer_without_a_number(job: Job, put: Put) -> None:
    put("sbatch", "echo Welcome")
    with pytest.raises(RunError, match="expected the number of a job, got 'Welcome'"):
        slurm.submit(job)


# --- how it does ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "state", "said"),
    [
        ("PENDING|Resources", "queued", "PENDING (Resources)"),
        ("PENDING|BeginTime", "queued", "PENDING (BeginTime)"),
        ("REQUEUE_HOLD|JobHeldAdmin", "queued", "REQUEUE_HOLD (JobHeldAdmin)"),
        ("CONFIGURING|None", "queued", "CONFIGURING"),
        ("RUNNING|None", "running", "RUNNING"),
        ("COMPLETING|None", "running", "COMPLETING"),
        ("SUSPENDED|None", "running", "SUSPENDED"),
        ("COMPLETED|None", "finished", "COMPLETED"),
        ("CANCELLED|None", "cancelled", "CANCELLED"),
        ("FAILED|NonZeroExitCode", "failed", "FAILED (NonZeroExitCode)"),
        ("TIMEOUT|TimeLimit", "failed", "TIMEOUT (TimeLimit)"),
        ("NODE_FAIL|None", "failed", "NODE_FAIL"),
        ("OUT_OF_MEMORY|OutOfMemory", "failed", "OUT_OF_MEMORY (OutOfMemory)"),
    ],
)
def test_states(job: Job, put: Put, line: str, state: str, said: str) -> None:
    calls = put("squeue", f"echo '{line}'")
    found = slurm.status(sent(job))
    assert (found.id, found.state, found.said) == (job.id, state, said)
    assert f"--jobs=12 --name={job.id}" in calls.read_text()


@pytest.mark.parametrize("squeue", ["echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", "exit 0"])
def test_a_job_that_the_controller_has_forgotten(job: Job, put: Put, squeue: str) -> None:
    put("squeue", squeue)
    put("sacct", "echo 'CANCELLED by 1000|0:15'")
    found = slurm.status(sent(job))
    assert (found.state, found.said) == ("cancelled", "CANCELLED by 1000 (0:15)")


@pytest.mark.parametrize(
    ("code", "marked", "state"),
    [
        ("0", False, "finished"),
        ("0", True, "finished"),
        ("2", False, "failed"),
        ("2", True, "cancelled"),
        ("143", False, "cancelled"),
        (None, True, "cancelled"),
        (None, False, "unknown"),
    ],
)
def test_without_accounting_the_job_says_it(job: Job, put: Put, code: str | None, marked: bool, state: str) -> None:
    put("squeue", "exit 1")
    put("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    Path(job.folder).mkdir(parents=True)
    if code is not None:
        Path(job.folder, "exit-code").write_text(f"{code}\n")
    if marked:
        Path(job.folder, "cancelled").touch()
    found = slurm.status(sent(job))
    assert found.state == state
    assert "12" in found.said


def test_cancel(job: Job, put: Put) -> None:
    put("squeue", "echo 'RUNNING|None'")
    calls = put("scancel", f"[[ -e {job.folder}/cancelled ]] || echo 'no mark' >&2")
    slurm.cancel(sent(job))
    assert calls.read_text() == f"--name={job.id} 12\n"
    assert Path(job.folder, "cancelled").exists()


def test_cancel_does_nothing_to_a_job_that_has_ended(job: Job, put: Put) -> None:
    put("squeue", "echo 'COMPLETED|None'")
    calls = put("scancel", "")
    slurm.cancel(sent(job))
    assert not calls.exists()
    assert not Path(job.folder).exists()


# --- its output -----------------------------------------------------------------------------------------


def test_logs(job: Job) -> None:
    assert list(slurm.logs(sent(job), follow=False)) == []
    Path(job.folder).mkdir(parents=True)
    Path(job.folder, "output.log").write_text("one\ntwo\nno end")
    assert list(slurm.logs(sent(job), follow=False)) == ["one\n", "two\n", "no end"]


def test_logs_are_followed_until_the_job_ends(job: Job, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also lines that are written after it was seen to have ended, and each line once."""
    monkeypatch.setattr(shells, "ASK_EVERY", 0.1)
    output = Path(job.folder, "output.log")
    output.parent.mkdir(parents=True)
    put("squeue", f"[[ -e {output} ]] && grep -q three {output} && echo 'COMPLETED|None' || echo 'RUNNING|None'")
    lines = slurm.logs(sent(job), follow=True)
    output.write_text("one\ntwo")
    assert next(lines) == "one\n"
    with output.open("a") as file:
        file.write(" halves\nthree\nno end")
    assert "".join(lines) == "two halves\nthree\nno end"


def test_following_ends_where_nothing_is_known(job: Job, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shells, "ASK_EVERY", 0.1)
    calls = put("squeue", "exit 1")
    put("sacct", "exit 1")
    assert list(slurm.logs(sent(job), follow=True)) == []
    assert len(calls.read_text().splitlines()) == slurm.SILENT


# --- before it is sent ----------------------------------------------------------------------------------


@pytest.fixture
def venv(job: Job) -> Path:
    """What the site says is one: its python says which versions it has."""
    programs = Path(str(job.site.environment.venv), "bin")
    programs.mkdir(parents=True)
    for name, script in {"python": "echo 3.12.1 0.1.0 2.60.0", "ray": ""}.items():
        (programs / name).write_text(f"#!/bin/bash\n{script}\n")
        (programs / name).chmod(0o755)
    return programs.parent


def test_all_is_well(job: Job, put: Put, venv: Path) -> None:
    put("sinfo", SINFO)
    calls = put("sbatch", 'grep -q "^#SBATCH --job-name=here-" || exit 1; echo "sbatch: Job 7 to start at ..." >&2')
    checks = by_name(slurm.check(job))
    assert {each.state for each in checks.values()} == {"ok"}
    assert list(checks) == ["partition", "sbatch --test-only", "storage", "environment", "secret WANDB_API_KEY"]
    assert checks["environment"].said == f"{venv}: Python 3.12.1, wsss-platform 0.1.0, Ray 2.60.0"
    assert calls.read_text() == "--test-only\n"
    assert not list(Path(job.site.storage).iterdir()), "nothing is left"


def test_without_slurm_all_is_skipped(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    for checks in (slurm.check(job), slurm.look(job.site)):
        found = list(checks)
        assert found
        assert {each.state for each in found} == {"skipped"}
        assert "not installed" in found[0].said


def test_without_a_controller_what_is_not_seen_proves_nothing(job: Job, put: Put) -> None:
    put("sinfo", "echo 'slurm_load_partitions: Unable to contact slurm controller (connect failure)' >&2; exit 1")
    checks = by_name(slurm.check(job))
    assert checks["Slurm"].state == "skipped"
    assert "Unable to contact" in checks["Slurm"].said
    assert checks["environment"].state == "skipped"
    assert "without Slurm" in checks["environment"].said
    assert checks["storage"].state == "ok"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"slurm__partition": "gpus"}, "slurm.partition: unknown partition 'gpus'; did you mean 'gpu'?"),
        ({"slurm__partition": "old"}, "slurm.partition: old is down"),
        (
            {"slurm__partition": "gpu", "resources__time_limit": "0:30:01"},
            "resources.time_limit 0:30:01: partition gpu gives at most 30:00",
        ),
    ],
)
def test_a_wrong_partition_is_one_fault(job: Job, put: Put, typed: dict[str, str], said: str) -> None:
    put("sinfo", SINFO)
    calls = put("sbatch", "exit 1")
    checks = by_name(slurm.check(changed(job, **typed)))
    assert checks["partition"] == Check("partition", "wrong", said)
    assert not calls.exists(), "Slurm would say it a second time"


@pytest.mark.parametrize(
    ("slurms", "parts"),
    [
        ("Invalid account or account/partition combination specified", ["slurm.account: mine", "slurm.partition: gpu"]),
        ("Requested node configuration is not available", ["resources: 3 nodes, each with 8 GPUs, 8 cores"]),
        ("Invalid feature specification", ["slurm.options: --constraint=b100"]),
        ("Requested time limit is invalid (missing or exceeds some limit)", ["resources.time_limit: 0:20:00"]),
    ],
)
def test_a_refusal_names_what_it_may_mean(job: Job, put: Put, slurms: str, parts: list[str]) -> None:
    put("sinfo", SINFO)
    put("sbatch", f"echo 'sbatch: error: more' >&2; echo 'allocation failure: {slurms}' >&2; exit 1")
    asked = changed(
        job,
        **{"slurm__partition": "gpu", "slurm__account": "mine", "slurm__options": ("--constraint=b100",)},
        **{"resources__nodes": 3, "resources__gpus_per_node": 8, "resources__cpus_per_node": 8},
        resources__time_limit="0:20:00",
    )
    found = by_name(slurm.check(asked))["sbatch --test-only"]
    assert found.state == "wrong"
    assert found.said.startswith(f"Slurm refuses the job: more; {slurms}")
    assert not [part for part in parts if part not in found.said], found.said
    assert "\n" not in found.said


def test_an_option_of_another_setting(job: Job) -> None:
    (found,) = slurm.check(changed(job, slurm__options=("--nodes=4",)))
    assert found == Check("slurm.options", "wrong", "slurm.options: --nodes=4: leave it out (resources.nodes)")


def test_files_that_a_job_would_miss(job: Job, put: Put, venv: Path, tmp_path: Path) -> None:
    put("sinfo", SINFO)
    put("sbatch", "")
    (venv / "bin" / "ray").unlink()
    (tmp_path / "secret").chmod(0o644)
    checks = by_name(slurm.check(changed(job, storage=f"{tmp_path}/nowhere")))
    assert "no such folder" in checks["storage"].said
    assert "has no bin/ray; make it: python3 -m venv" in checks["environment"].said
    assert "everybody may read" in checks["secret WANDB_API_KEY"].said
    (tmp_path / "secret").unlink()
    locked = changed(job, environment={"venv": None, "lock": f"{tmp_path}/requirements.lock"})
    checks |= {f"{name} 2": each for name, each in by_name(slurm.check(locked)).items()}
    assert "no such file" in checks["environment 2"].said
    assert "no such file" in checks["secret WANDB_API_KEY 2"].said
    wrong = {name for name, each in checks.items() if each.state == "wrong"}
    assert wrong == {"storage", "environment", "secret WANDB_API_KEY", "environment 2", "secret WANDB_API_KEY 2"}


@pytest.mark.parametrize(
    ("versions", "said"),
    [("3.9.2 none 2.60.0", "expected Python 3.11"), ("3.12.1 none 2.60.0", "install wsss-platform")],
)
def test_an_environment_that_cannot_run_it(job: Job, put: Put, venv: Path, versions: str, said: str) -> None:
    put("sinfo", SINFO)
    put("sbatch", "")
    (venv / "bin" / "python").write_text(f"#!/bin/bash\necho {versions}\n")
    found = by_name(slurm.check(job))["environment"]
    assert found.state == "wrong"
    assert said in found.said


def test_look_at_a_site(job: Job, put: Put, venv: Path) -> None:
    put("sinfo", SINFO)
    put("scontrol", "echo 'PreemptMode             = REQUEUE'")
    checks = by_name(slurm.look(job.site))
    assert {each.state for each in checks.values()} == {"ok"}
    assert "main (4 nodes, at most infinite), gpu (2 nodes, at most 30:00)" in checks["controller"].said
    assert "PreemptMode REQUEUE" in checks["requeue"].said
    assert checks["partition"].said.startswith("main:")
    put("sinfo", "echo 'main|up|infinite|2'")
    assert "no default partition" in by_name(slurm.look(job.site))["partition"].said
    off = changed(job, slurm__requeue=False, slurm__partition="mani").site
    checks = by_name(slurm.look(off))
    assert checks["requeue"].said.startswith("off")
    assert "did you mean 'main'?" in checks["partition"].said
