"""Sites of kind slurm on a real Slurm of two nodes on this host; Ray is real, the command a small program.

Skips where Slurm is not installed or the user is not root: `apt-get install slurm-wlm munge`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from real_slurm import FIRST, MARKS, ROOT, Slurm, running_slurm, wait_for
from wsss_platform.config import override
from wsss_platform.errors import InputError
from wsss_platform.sites import shell as shells
from wsss_platform.sites import slurm
from wsss_platform.sites.code import Code, frozen
from wsss_platform.sites.job import Job
from wsss_platform.sites.ledger import Sent
from wsss_platform.sites.site import Site

pytestmark = MARKS

SECRET = "sEcReT-value-of-a-key-that-is-nowhere"
# In place of the platform's command; what it has done lies in the storage folder, as there.
PROGRAM = """
import hashlib, json, os, pathlib, signal, sys, time
import wsss_platform

verb, name, *words = sys.argv[3:]
done = pathlib.Path(os.environ["WSSS_STORAGE"], name)
if verb == "say":
    secret = hashlib.sha256(os.environ["WANDB_API_KEY"].encode()).hexdigest()
    said = {"secret": secret, "words": words, "code": wsss_platform.__file__, "ray": os.environ["RAY_ADDRESS"]}
    print("SAID " + json.dumps(said), flush=True)
    while not done.exists():
        time.sleep(0.1)
    print("the last line", end="", flush=True)
    sys.exit()

asked = []  # verb "work": the first start goes on until it is asked to end or is killed, the second one finishes
signal.signal(signal.SIGINT, lambda *_: asked.append(1))
start = len(done.read_text().splitlines()) if done.exists() else 0
for step in range(start, start + 3 if start else 10**6):
    with done.open("a") as file:
        print(step, file=file)
    print("step", step, flush=True)
    time.sleep(0.5)
    if asked:
        print("stored", flush=True)
        sys.exit(130)
print("all done", flush=True)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    """This host is its login node, too; the person who submits has a key in the shell."""
    with running_slurm() as started, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", started.environment["SLURM_CONF"])
        patch.setenv("WANDB_API_KEY", SECRET)
        patch.setattr(shells, "ASK_EVERY", 1.0)
        yield started


def site_of(folder: Path) -> Site:
    """A site whose environment has the real Ray, and as python one that runs PROGRAM in place of the platform."""
    programs = folder / "venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "ray").symlink_to(Path(sys.executable).with_name("ray"))
    (folder / "program.py").write_text(PROGRAM)
    ours = f'[ "$1" != -m ] || set -- {folder}/program.py "$@"'
    (programs / "python").write_text(f'#!/bin/sh\n{ours}\nexec {sys.executable} "$@"\n')
    (programs / "python").chmod(0o755)
    (folder / "storage").mkdir()
    (folder / "secret").write_text(SECRET)
    (folder / "secret").chmod(0o600)
    return Site.model_validate(
        {
            "kind": "slurm",
            "storage": str(folder / "storage"),
            "environment": {"venv": str(programs.parent)},
            "resources": {"time_limit": "0:10:00", "memory_per_node": "900M"},
            "secrets": {"WANDB_API_KEY": f"file:{folder}/secret"},
            "variables": {"OMP_NUM_THREADS": "1"},
        }
    )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return site_of(tmp_path)


def job_of(site: Site, *command: str, code: Code | None = None, **typed: Any) -> Job:
    """A job with the id of its command's name: VERB NAME ..."""
    changes = {path.replace("__", "."): value for path, value in typed.items()}
    return Job(f"here-{command[1]}", "here", override(site, changes), command, code or Code(()))


def send(job: Job) -> Sent:
    handle = slurm.submit(job)
    return Sent(id=job.id, site_name="here", site=job.site, handle=handle, command="", commit=None, sent="2026-11-30")


def output(sent: Sent) -> str:
    return "".join(slurm.logs(sent, follow=False))


def wait_for_output(sent: Sent, text: str) -> None:
    wait_for(lambda: text in output(sent), 240, f"{text!r} of {sent.id}")


def wait_for_end(sent: Sent) -> None:
    wait_for(lambda: slurm.status(sent).state not in ("queued", "running"), 240, f"end of {sent.id}")


def assert_went_on(sent: Sent) -> None:
    """The command ran twice, the second time from where the first one was, and has finished."""
    said = output(sent)
    assert slurm.status(sent).state == "finished", said
    assert said.count("ray.sbatch: Ray runs on") == 2, said
    assert said.count("all done\n") == 1
    steps = [int(step) for step in re.findall(r"^step (\d+)$", said, re.MULTILINE)]
    assert steps == list(range(len(steps))), "none is lost, and none is done again"


@pytest.fixture(scope="module")
def short_of_time(cluster: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """A job that is asked to end half a minute after its start, or later. It runs beside those of the other tests."""
    return send(job_of(site_of(tmp_path_factory.mktemp("short")), "work", "short", resources__time_limit="0:03:00"))


def command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()


def files_with(text: str, folder: Path) -> list[Path]:
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and text.encode() in path.read_bytes():
                found.append(path)
    return found


def test_from_submit_to_its_end(cluster: Slurm, short_of_time: Sent, site: Site) -> None:
    words = ("two words", "$(touch never) * ; 'quoted'")
    job = job_of(site, "say", "go", *words, code=frozen(ROOT, True), resources__nodes=2)
    assert {each.what: each.state for each in slurm.check(job)} == dict.fromkeys(
        ("partition", "sbatch --test-only", "storage", "environment", "secret WANDB_API_KEY"), "ok"
    )
    assert not list(Path(site.storage).iterdir())
    sent = send(job)
    assert slurm.status(sent).state in ("queued", "running")
    lines = []
    for line in slurm.logs(sent, follow=True):
        lines.append(line)
        if line.startswith("SAID "):
            assert slurm.status(sent).state == "running"
            assert not [command for command in command_lines() if SECRET.encode() in command]
            assert not files_with(SECRET, cluster.folder), "Slurm keeps what a submitter's shell has with a job"
            Path(site.storage, "go").touch()
    assert "the last line" in lines[-1]
    assert "".join(lines) == output(sent)
    said = json.loads(next(line for line in lines if line.startswith("SAID ")).removeprefix("SAID "))
    assert said["secret"] == hashlib.sha256(SECRET.encode()).hexdigest()
    assert said["words"] == list(words)
    assert said["code"].startswith(f"{job.folder}/code/wsss-platform/platform/")
    assert any("Ray runs on 2 node(s)" in line for line in lines)
    wait_for_end(sent)
    assert slurm.status(sent).state == "finished"
    assert Path(job.folder, "exit-code").read_text() == "0\n"
    assert not files_with(SECRET, Path(site.storage))
    slurm.cancel(sent)
    assert slurm.status(sent).state == "finished"


def test_cancelled_jobs_do_not_go_on(cluster: Slurm, short_of_time: Sent, site: Site) -> None:
    ours, by_hand = send(job_of(site, "work", "ours")), send(job_of(site, "work", "by-hand"))
    for sent in (ours, by_hand):
        wait_for_output(sent, "step 0\n")
    slurm.cancel(ours)
    cluster.run(["scancel", by_hand.handle])
    for sent in (ours, by_hand):
        wait_for_end(sent)
        assert slurm.status(sent).state == "cancelled"
        assert "goes on" not in output(sent)
        shown = cluster.run(["scontrol", "--oneliner", "show", "job", sent.handle]).stdout
        assert "JobState=CANCELLED" in shown
        assert "Restarts=0" in shown


def test_a_wrong_partition_is_one_line_and_nothing_is_sent(cluster: Slurm, site: Site) -> None:
    job = job_of(site, "work", "wrong", slurm__partition="firts")
    wrong = [each.said for each in slurm.check(job) if each.state == "wrong"]
    assert wrong == ["slurm.partition: unknown partition 'firts'; did you mean 'first'?"]
    with pytest.raises(InputError) as caught:
        slurm.submit(job)
    said = str(caught.value)
    assert said.startswith("Slurm refuses the job: ")
    assert said.endswith("slurm.partition: firts")
    assert "\n" not in said
    assert not list(Path(site.storage, "submissions").iterdir())
    assert "here-wrong" not in cluster.run(["squeue", "--noheader", "--format=%j"]).stdout


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"resources__nodes": 3}, "resources: 3 nodes"),
        ({"resources__memory_per_node": "64G"}, "64G memory"),
        ({"slurm__options": ("--constraint=a100",)}, "slurm.options: --constraint=a100"),
        ({"slurm__partition": FIRST, "resources__time_limit": "1:00:01"}, "partition first gives at most 1:00:00"),
    ],
)
def test_what_slurm_would_refuse_is_named(cluster: Slurm, site: Site, typed: dict[str, Any], said: str) -> None:
    (wrong,) = [each for each in slurm.check(job_of(site, "work", "wrong", **typed)) if each.state == "wrong"]
    assert said in wrong.said


def test_the_site_is_seen(cluster: Slurm, site: Site) -> None:
    seen = {each.what: each for each in slurm.look(site)}
    assert {each.state for each in seen.values()} == {"ok"}
    assert "all (2 nodes, at most infinite), first (2 nodes, at most 1:00:00)" in seen["controller"].said
    assert "PreemptMode REQUEUE" in seen["requeue"].said


def test_a_job_whose_time_is_over_goes_on(cluster: Slurm, short_of_time: Sent) -> None:
    wait_for_end(short_of_time)
    assert_went_on(short_of_time)
    said = output(short_of_time)
    assert "\nstored\n" in said, "the first start was asked to end"
    assert "job.sbatch: interrupted; back into the queue" in said


def test_a_job_that_is_preempted_goes_on(cluster: Slurm, site: Site) -> None:
    sent = send(job_of(site, "work", "preempted", resources__nodes=2, resources__cpus_per_node=2))
    wait_for_output(sent, "step 0\n")
    cluster.run(["sbatch", f"--partition={FIRST}", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=true"])
    wait_for_end(sent)
    assert_went_on(sent)
    assert "PREEMPTION" in output(sent)
