"""Sites of kind slurm without a Slurm: programs of its names stand on PATH and write down how they were called."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from told_slurm import SECRET, Put, changed, sent
from wsss_platform.errors import InputError, RunError
from wsss_platform.sites import shell as shells
from wsss_platform.sites import slurm
from wsss_platform.sites.finding import find_site
from wsss_platform.sites.job import Job
from wsss_platform.sites.kinds import client_of

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
