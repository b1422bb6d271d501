"""The text of job.sbatch, and what it does: run by bash, with programs of Slurm's names in place of a Slurm."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from wsss_platform.errors import InputError
from wsss_platform.sites.code import Code
from wsss_platform.sites.job import Job
from wsss_platform.sites.site import Site
from wsss_platform.sites.slurm_script import OURS, options, script

ODD = ("train", "fbr", "--set", "name=two words", "$(touch never) * ; 'q'\n#SBATCH --nodes=9")
RUNNING, ENDING, PREEMPTED = "JobState=RUNNING", "JobState=COMPLETING", "JobState=COMPLETING PreemptTime=2026-11-30"
PRINTS = 'printf "<%s>" "$WSSS_COMMAND" "$@"; printf "\\n%s\\n" "$WANDB_API_KEY" "$PYTHONPATH"'
WAITS = "trap 'sleep 0.3; exit 143' TERM; touch started; while :; do sleep 0.1; done"


def job_of(tmp_path: Path, command: tuple[str, ...] = ODD, **sections: Any) -> Job:
    site = {"kind": "slurm", "storage": str(tmp_path / "storage"), **sections}
    return Job("here-1130-010203-abcd", "here", Site.model_validate(site), command, Code(()))


class Started:
    """A job.sbatch that runs, with a ray.sbatch of the test beside it."""

    def __init__(self, job: Job, tmp_path: Path, ray: str, shown: str = RUNNING, **settings: str) -> None:
        self.folder = Path(job.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        programs, self.requeued = tmp_path / "programs", tmp_path / "requeued"
        programs.mkdir(exist_ok=True)
        self.shown = tmp_path / "shown"
        self.shown.write_text(f"JobId=7 {shown} Reason=None\n")
        (programs / "scontrol").write_text(
            f'#!/bin/bash\nif [[ "$1" == requeue ]]; then echo "$2" >>{self.requeued}; else cat {self.shown}; fi\n'
        )
        (programs / "scontrol").chmod(0o755)
        (self.folder / "ray.sbatch").write_text(ray)
        (self.folder / "job.sbatch").write_text(script(job))
        path = f"{programs}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": "", "SLURM_JOB_ID": "7", **settings}
        self.process = subprocess.Popen(
            ["bash", str(self.folder / "job.sbatch")],
            **{"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True},
            start_new_session=True,
        )

    def wait_for(self, name: str) -> None:
        limit = time.monotonic() + 60
        while not (self.folder / name).exists():
            assert time.monotonic() < limit, f"no {name}"
            time.sleep(0.05)

    def end(self, *, signalled: bool = False) -> tuple[int, str]:
        """Exit code and output."""
        if signalled:
            self.process.terminate()
        code = self.process.wait(120)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # what is left of it, as Slurm does
        output, _ = self.process.communicate(timeout=60)
        return code, output

    @property
    def was_requeued(self) -> bool:
        return self.requeued.exists() and self.requeued.read_text() == "7\n"

    @property
    def exit_code(self) -> str | None:
        path = self.folder / "exit-code"
        return path.read_text().strip() if path.exists() else None


# --- its text -------------------------------------------------------------------------------------------


def test_options_come_from_the_site(tmp_path: Path) -> None:
    job = job_of(
        tmp_path,
        resources={
            **{"nodes": 2, "gpus_per_node": 4, "cpus_per_node": 32},
            **{"memory_per_node": "64G", "time_limit": "8:00:00"},
        },
        slurm={"partition": "gpu", "account": "lab", "options": ["--constraint=a100"]},
    )
    assert list(options(job)) == [
        "--job-name=here-1130-010203-abcd",
        "--nodes=2",
        "--ntasks-per-node=1",
        "--gpus-per-node=4",
        "--cpus-per-task=32",
        "--mem=64G",
        "--time=8:00:00",
        "--partition=gpu",
        "--account=lab",
        f"--chdir={job.folder}",
        f"--output={job.folder}/output.log",
        "--open-mode=append",
        "--signal=B:TERM@90",
        "--requeue",
        "--constraint=a100",
    ]


def test_what_a_site_leaves_out_is_slurms(tmp_path: Path) -> None:
    names = [option.partition("=")[0] for option in options(job_of(tmp_path, slurm={"requeue": False}))]
    assert "--no-requeue" in names
    assert not {"--gpus-per-node", "--mem", "--time", "--partition", "--account", "--requeue"} & set(names)


def test_every_option_of_ours_is_refused_as_a_further_one(tmp_path: Path) -> None:
    ours = {option.removeprefix("--").partition("=")[0] for option in options(job_of(tmp_path))}
    assert ours <= set(OURS)
    for name, place in OURS.items():
        with pytest.raises(InputError) as caught:
            script(job_of(tmp_path, slurm={"options": [f"--{name}"]}))
        assert str(caught.value) == f"slurm.options: --{name}: leave it out ({place})"
        assert caught.value.field == "slurm.options"


def test_a_time_limit_in_which_nothing_can_be_done(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^resources.time_limit 0:02:59: expected at least 180 seconds"):
        script(job_of(tmp_path, resources={"time_limit": "0:02:59"}))
    assert "--time=0:03:00" in list(options(job_of(tmp_path, resources={"time_limit": "0:03:00"})))


def test_only_the_head_has_options(tmp_path: Path) -> None:
    """sbatch reads them up to the first command: what a person types cannot add one."""
    lines = script(job_of(tmp_path)).splitlines()
    first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    assert [number for number, line in enumerate(lines) if line.startswith("#SBATCH --job-name")] == [1]
    assert all(number > first for number, line in enumerate(lines) if "--nodes=9" in line)


@pytest.mark.parametrize("environment", [{"venv": "/s/venv"}, {"lock": "/s/requirements.lock"}], ids=str)
@pytest.mark.parametrize("requeue", [True, False])
def test_shellcheck(tmp_path: Path, environment: dict[str, str], requeue: bool) -> None:
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("no shellcheck")
    secrets, variables = {"WANDB_API_KEY": "file:/s/secret"}, {"ODD": "x $(y)"}
    job = job_of(tmp_path, environment=environment, slurm={"requeue": requeue}, secrets=secrets, variables=variables)
    done = subprocess.run([program, "--shell=bash", "-"], input=script(job), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# --- what it does ---------------------------------------------------------------------------------------


def test_the_command_arrives_as_typed_and_with_its_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the value\n")
    job = job_of(tmp_path, secrets={"WANDB_API_KEY": f"file:{tmp_path}/secret"})
    started = Started(job, tmp_path, PRINTS)
    code, output = started.end()
    assert (code, started.exit_code) == (0, "0")
    assert output.startswith("".join(f"<{word}>" for word in ("python", "-m", "wsss_platform.cli", *ODD)))
    assert "\nthe value\n" in output
    assert not (started.folder / "never").exists()


def test_a_secret_that_cannot_be_read_ends_it(tmp_path: Path) -> None:
    job = job_of(tmp_path, secrets={"WANDB_API_KEY": f"file:{tmp_path}/secret"})
    started = Started(job, tmp_path, "touch ran")
    code, output = started.end()
    assert (code, started.exit_code, started.was_requeued) == (2, "2", False)
    assert f"WANDB_API_KEY: {tmp_path}/secret cannot be read" in output
    assert not (started.folder / "ran").exists()


@pytest.mark.parametrize(
    ("ray", "shown", "signalled", "mark", "requeued"),
    [
        (WAITS, RUNNING, True, False, True),  # its time is nearly over
        (WAITS, PREEMPTED, True, False, True),  # PreemptMode=CANCEL without a grace time
        ("exit 1", RUNNING + " PreemptTime=2026-11-30", False, False, True),  # in its grace time: Ray was ended
        (WAITS, ENDING, True, False, False),  # scancel, or Slurm requeues it
        (WAITS, ENDING + " PreemptTime=None", True, False, False),
        (WAITS, RUNNING, True, True, False),  # `cancel` just before its time was over
        ("exit 7", RUNNING, False, False, False),
        ("exit 7", RUNNING + " PreemptTime=None", False, False, False),
    ],
)
def test_who_goes_back_into_the_queue(
    tmp_path: Path, ray: str, shown: str, signalled: bool, mark: bool, requeued: bool
) -> None:
    started = Started(job_of(tmp_path), tmp_path, ray, shown)
    if signalled:
        started.wait_for("started")
    if mark:
        (started.folder / "cancelled").touch()
    code, output = started.end(signalled=signalled)
    assert started.was_requeued == requeued, output
    if requeued:
        assert (code, started.exit_code) == (0, None)
        assert "goes on" in output
    else:
        assert str(code) == started.exit_code == ("143" if signalled else "7")


def test_without_requeue_it_ends(tmp_path: Path) -> None:
    started = Started(job_of(tmp_path, slurm={"requeue": False}), tmp_path, WAITS)
    started.wait_for("started")
    code, _ = started.end(signalled=True)
    assert (code, started.exit_code, started.was_requeued) == (143, "143", False)


def test_a_command_that_ends_well_although_asked_is_finished(tmp_path: Path) -> None:
    started = Started(job_of(tmp_path), tmp_path, WAITS.replace("143", "0"))
    started.wait_for("started")
    code, _ = started.end(signalled=True)
    assert (code, started.exit_code, started.was_requeued) == (0, "0", False)


def test_it_asks_the_command_only_once(tmp_path: Path) -> None:
    asked = "trap 'echo asked; ended=$((SECONDS + 2))' TERM; ended=60; touch started"
    ray = f"{asked}; until ((SECONDS > ended)); do sleep 0.1; done; exit 130"
    started = Started(job_of(tmp_path), tmp_path, ray)
    started.wait_for("started")
    for _ in range(3):
        started.process.terminate()
        time.sleep(0.3)
    _, output = started.end()
    assert output.count("asked") == 1
    assert started.was_requeued


def test_a_command_that_takes_too_long_is_requeued_all_the_same(tmp_path: Path) -> None:
    sleep = tmp_path / "programs" / "sleep"
    sleep.parent.mkdir()
    sleep.write_text('#!/bin/bash\n[[ "$1" == 60 ]] || exec /bin/sleep "$1"\n')  # no time is over at once
    sleep.chmod(0o755)
    started = Started(job_of(tmp_path), tmp_path, "trap '' TERM; touch started; while :; do sleep 0.1; done")
    started.wait_for("started")
    started.process.terminate()
    limit = time.monotonic() + 60
    while not started.was_requeued:
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert started.process.poll() is None
    started.process.kill()
    started.end()


def test_a_signal_before_there_is_a_command(tmp_path: Path) -> None:
    remove = tmp_path / "programs" / "rm"
    remove.parent.mkdir()
    remove.write_text("#!/bin/bash\ntouch started; sleep 1\n")  # what it calls before
    remove.chmod(0o755)
    started = Started(job_of(tmp_path), tmp_path, "touch ran; sleep 20")
    started.wait_for("started")
    began = time.monotonic()
    code, output = started.end(signalled=True)
    assert (code, started.was_requeued) == (0, True), output
    assert time.monotonic() - began < 15


@pytest.mark.skipif(signal.getsignal(signal.SIGINT) == signal.SIG_IGN, reason="this process ignores Ctrl-C")
def test_the_command_hears_ctrl_c(tmp_path: Path) -> None:
    """A shell may let what it starts in the background ignore it."""
    code, output = Started(job_of(tmp_path), tmp_path, "kill -INT $$; sleep 1; echo ignored").end()
    assert (code, "ignored" in output) == (130, False)


def test_a_start_removes_the_exit_code_of_the_one_before(tmp_path: Path) -> None:
    started = Started(job_of(tmp_path), tmp_path, "exit 3")
    started.end()
    again = Started(job_of(tmp_path), tmp_path, "[[ ! -e exit-code ]]")
    assert again.end()[0] == 0


# --- the environment of a lock file ---------------------------------------------------------------------

# In place of Python: makes a folder whose "pip" takes a while and writes down what it is called with.
PYTHON3 = """#!/bin/bash
mkdir -p "$3/bin"
printf '#!/bin/bash\\n[[ ! -e CALLS.fail ]] || exit 9\\nsleep ${PIP:-0}; echo "$*" >>CALLS\\n' >"$3/bin/python"
chmod +x "$3/bin/python"
"""


@pytest.fixture
def locked(tmp_path: Path) -> Job:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python3").write_text(PYTHON3.replace("CALLS", str(tmp_path / "pip-calls")))
    (programs / "python3").chmod(0o755)
    (tmp_path / "requirements.lock").write_text("ray==2.60.0\n")
    job = job_of(tmp_path, environment={"lock": str(tmp_path / "requirements.lock")})
    Path(job.folder).mkdir(parents=True)
    shutil.copy(tmp_path / "requirements.lock", Path(job.folder, "requirements.lock"))
    return job


def places(job: Job) -> tuple[Path, Path]:
    """(the environment, its lock directory)."""
    digest = hashlib.sha256(Path(job.folder, "requirements.lock").read_bytes()).hexdigest()[:16]
    folder = Path(job.site.storage, "environments")
    return folder / digest, folder / f"{digest}.lock"


def test_two_jobs_make_one_environment(tmp_path: Path, locked: Job) -> None:
    made, guard = places(locked)
    ray = f'[[ "${{PATH%%:*}}" == {made}/bin ]]'
    other = Job("here-2", "here", locked.site, locked.command, locked.code)
    shutil.copytree(locked.folder, other.folder)
    jobs = [Started(job, tmp_path, ray, PIP="2", SLURM_JOB_ID=str(n)) for n, job in enumerate((locked, other))]
    assert [each.end()[0] for each in jobs] == [0, 0]
    (call,) = (tmp_path / "pip-calls").read_text().splitlines()
    assert call == "-m pip install --quiet --disable-pip-version-check --requirement requirements.lock"
    assert made.is_dir()
    assert not guard.exists()


def test_hashes_are_required_where_there_are_any(tmp_path: Path, locked: Job) -> None:
    Path(locked.folder, "requirements.lock").write_text(f"ray==2.60.0 --hash=sha256:{'0' * 64}\n")
    assert Started(locked, tmp_path, "exit 0").end()[0] == 0
    assert "--require-hashes" in (tmp_path / "pip-calls").read_text()


def test_an_environment_that_cannot_be_made_is_not_there(tmp_path: Path, locked: Job) -> None:
    made, guard = places(locked)
    (tmp_path / "pip-calls.fail").touch()
    started = Started(locked, tmp_path, "touch ran")
    assert started.end()[0] == 9
    assert not made.exists()
    assert not guard.exists()
    assert not (started.folder / "ran").exists()
    (tmp_path / "pip-calls.fail").unlink()
    assert Started(locked, tmp_path, "exit 0").end()[0] == 0
    assert made.is_dir()


def test_one_that_is_interrupted_lets_the_next_one_make_it(tmp_path: Path, locked: Job) -> None:
    made, guard = places(locked)
    started = Started(locked, tmp_path, "exit 0", PIP="60")
    limit = time.monotonic() + 60
    while not guard.exists() and time.monotonic() < limit:
        time.sleep(0.05)
    started.end(signalled=True)
    assert started.was_requeued
    assert not guard.exists()
    assert Started(locked, tmp_path, "exit 0").end()[0] == 0
    assert made.is_dir()


def test_the_lock_of_a_job_that_was_killed_is_taken_away(tmp_path: Path, locked: Job) -> None:
    made, guard = places(locked)
    guard.mkdir(parents=True)
    old = time.time() - 600
    os.utime(guard, (old, old))
    assert Started(locked, tmp_path, "exit 0").end()[0] == 0
    assert made.is_dir()


@pytest.mark.slow
def test_a_real_environment_with_hashes(tmp_path: Path, locked: Job) -> None:
    (tmp_path / "programs" / "python3").unlink()
    wheel = tmp_path / "wheels" / "tiny_thing-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("tiny_thing.py", "print('tiny')\n")
        file.writestr("tiny_thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n")
        file.writestr(
            "tiny_thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr("tiny_thing-1.0.dist-info/RECORD", "")
    good = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock = Path(locked.folder, "requirements.lock")
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent)}
    for digest, works in (("0" * 64, False), (good, True)):
        lock.write_text(f"tiny-thing==1.0 --hash=sha256:{digest}\n")
        code, output = Started(locked, tmp_path, "python -c 'import tiny_thing'", **offline).end()
        assert (code == 0) == works, output
        assert ("tiny\n" in output) == works
        assert places(locked)[0].exists() == works
