"""`submit` and `sites` on the command line, offline: what would be sent, and what is refused before anything is."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from in_process import command, document

from wsss_platform.config.shipped import shipped
from wsss_platform.sites import code
from wsss_platform.sites.finding import known_sites

KINDS = ("kuberay", "ray", "ray-up", "slurm")


@pytest.fixture(autouse=True)
def _far_from_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No site of one's own, no kubeconfig, no Slurm on the PATH; a work tree without changes."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setattr(code, "_PLACE", tmp_path)
    here = tmp_path / "here"
    here.mkdir()
    (here / "small.toml").write_text("[train]\nepochs = 1\n")
    (here / "mine.py").write_text("A = 1\n")
    for said in (["init", "-q"], ["add", "mine.py"], ["commit", "-q", "-m", "one"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(here), *said], check=True)
    monkeypatch.chdir(here)


def planned_by(*words: str) -> Any:
    """What --json prints; what stands after the two hyphens is another command's."""
    return json.loads(command("submit", "--json", "--dry-run", *words).stdout)


def test_an_example_of_every_kind_is_shipped() -> None:
    assert set(known_sites()) == set(KINDS)
    assert {path.stem for path in (shipped("cluster") / "sites").glob("*.toml")} == set(KINDS)
    assert set(document("sites", "list")["sites"]) == set(KINDS)


@pytest.mark.parametrize("site", KINDS)
def test_every_example_passes_a_dry_run_offline(site: str) -> None:
    done = command("submit", "--on", site, "--dry-run", "--", "train", "cam", "--until", "score")
    assert done.stdout.splitlines()[-1] == "nothing was sent (--dry-run)"
    planned = planned_by("--on", site, "--", "train", "cam", "--recipe", "small.toml")
    assert planned["kind"] == site
    assert planned["files"]
    assert planned["commands"]
    assert planned["sent_files"] == ["small.toml"]
    assert list(planned["commits"]) == ["code"]
    assert planned["untracked"] == ["small.toml"]
    wrong = {check["what"] for check in planned["checks"] if check["state"] == "wrong"}
    assert wrong <= {"ssh", "rsync", "ssh key"}, "what this machine may lack; a dry run says it, and ends with 0"
    assert any(check["state"] == "skipped" for check in planned["checks"])
    assert not document("submit", "list")["submissions"]


def test_what_is_wrong_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    for words, said in [
        (["--", "train", "cam"], "--on SITE is missing"),
        (["--on", "slrm", "--", "train", "cam"], "did you mean 'slurm'"),
        (["--on", "slurm", "--", "trian", "cam"], "did you mean 'train'"),
        (["--on", "slurm", "--", "train", "cam", "--epochs", "3"], "No such option"),
        (["--on", "slurm", "--", "train", "cam", "--storage", "x"], "the site names the storage folder"),
        (["--on", "slurm", "--", "train", "cam", "--local"], "needs no cluster"),
        (["--on", "slurm", "--time-limit", "8h", "--", "train", "cam"], "hours:minutes:seconds"),
        (["--on", "ray", "--partition", "gpu", "--", "train", "cam"], "only with a site of kind slurm"),
        (["--on", "slurm", "--gpus-per-node", "4", "--gpus-per-worker", "3", "--", "train", "cam"], "no multiple"),
    ]:
        done = command("submit", *words, code=2)
        assert said in " ".join(done.stderr.split()), done.stderr
    (Path.cwd() / "mine.py").write_text("A = 2\n")
    assert "--dirty" in command("submit", "--on", "kuberay", "--dry-run", "--", "train", "cam", code=2).stderr
    planned = planned_by("--on", "kuberay", "--dirty", "--", "train", "cam")
    assert planned["commits"]["code"].endswith("+")


def test_workers_follow_from_the_job_and_the_command_goes_before() -> None:
    asked = ["--on", "slurm", "--nodes", "2", "--gpus-per-node", "4", "--cpus-per-node", "32"]
    assert planned_by(*asked, "--", "train", "fbr")["command"] == "wsss-platform train fbr --workers 8"
    assert planned_by(*asked, "--", "tune", "fbr", "--workers", "4")["command"].endswith("--workers 4")
    refused = command("submit", *asked, "--", "train", "fbr", "--workers", "9", code=2)
    assert "has room for 8" in refused.stderr


def test_an_unknown_id_names_the_nearest() -> None:
    for verb in ("status", "logs", "cancel", "fetch"):
        assert "unknown submission 'x'" in command("submit", verb, "x", code=2).stderr
        assert "id of a submission '../x': expected letters" in command("submit", verb, "../x", code=2).stderr


def test_checking_a_site_that_is_away_is_no_error() -> None:
    report = document("sites", "check", "kuberay")
    assert report["ready"]
    assert {check["state"] for check in report["checks"]} == {"skipped"}
