"""`wsss.submit`: what is written down when, and what a fetch needs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from wsss_platform.api._submit import Submission, open_submission, plan_submission, submissions
from wsss_platform.errors import InputError, RunError
from wsss_platform.sites import code, kinds
from wsss_platform.sites.job import Job


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(code, "_PLACE", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text('kind = "slurm"\nstorage = "/shared/s"\nremote = "s3://bucket/folder"\n')


def sending(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> None:
    def submit(job: Job) -> str:
        assert open_submission(job.id).sent.handle == job.id, "it is written down before it is sent"
        if error is not None:
            raise error
        return "4711"

    client = SimpleNamespace(submit=submit, check=lambda job: ())
    monkeypatch.setattr(kinds, "client_of", lambda kind: client)


def test_a_job_is_written_down_with_what_the_site_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sending(monkeypatch, None)
    sent = plan_submission(["tune", "fbr"], "mine.toml").send()
    assert open_submission(sent.id).sent.handle == "4711"
    assert [one.id for one in submissions().submissions] == [sent.id]


def test_a_job_that_was_refused_is_not_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    sending(monkeypatch, InputError("no such partition"))
    with pytest.raises(InputError, match="no such partition"):
        plan_submission(["tune", "fbr"], "mine.toml").send()
    assert not submissions().submissions


@pytest.mark.parametrize("error", [RunError("no answer"), KeyboardInterrupt()])
def test_a_job_that_may_have_been_sent_keeps_its_id(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    sending(monkeypatch, error)
    with pytest.raises(type(error)) as raised:
        plan_submission(["tune", "fbr"], "mine.toml").send()
    (left,) = submissions().submissions
    assert isinstance(error, KeyboardInterrupt) or left.id in str(raised.value)


def test_wrong_words_name_the_nearest() -> None:
    for words, near in [(["trian", "fbr"], "train"), (["tune", "fbrr"], "fbr")]:
        with pytest.raises(InputError, match=f"did you mean '{near}'"):
            plan_submission(words, "mine.toml")


def test_all_is_refused_where_jobs_push_to_a_remote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sending(monkeypatch, None)
    sent: Submission = plan_submission(["tune", "fbr"], "mine.toml").send()
    with pytest.raises(InputError, match="stay in its storage folder"):
        sent.fetch(tmp_path / "home", everything=True, progress=False)
