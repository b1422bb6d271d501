"""What is looked at before a job goes to Slurm, and what is said of a fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from told_slurm import SINFO, Put, by_name, changed
from wsss_platform.sites import slurm
from wsss_platform.sites.job import Job
from wsss_platform.sites.kinds import Check


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
