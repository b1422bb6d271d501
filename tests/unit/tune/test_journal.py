"""Optuna's journal on a disk that gets full and under a writer that is killed."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from another_process import LONGEST_WAIT
from wsss_platform.tune.study_storage import JOURNAL, open_study

optuna.logging.set_verbosity(optuna.logging.WARNING)


@contextmanager
def no_larger_than(size: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes: writes are cut off there, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def one_trial(study: optuna.Study, value: float) -> None:
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    study.tell(trial, value)


def cut_off(study: optuna.Study, journal: Path) -> None:
    """A write of which only a part finds room."""
    with no_larger_than(journal.stat().st_size + 20), pytest.raises(OSError, match="File too large"):
        one_trial(study, 0.9)


def values(study: optuna.Study) -> list[float | None]:
    return [trial.value for trial in study.get_trials() if trial.state is TrialState.COMPLETE]


def test_what_found_no_room_is_taken_back(tmp_path: Path) -> None:
    study, journal = open_study(tmp_path), tmp_path / JOURNAL
    one_trial(study, 0.5)
    before = journal.read_bytes()
    cut_off(study, journal)
    assert journal.read_bytes() == before
    one_trial(study, 0.7)  # the same process goes on
    assert values(open_study(tmp_path)) == [0.5, 0.7]


def test_what_a_killed_writer_left_is_taken_back(tmp_path: Path) -> None:
    one_trial(open_study(tmp_path), 0.5)
    with (tmp_path / JOURNAL).open("ab") as stream:
        stream.write(b'{"op_code":6,"worker_id":"x')
    one_trial(open_study(tmp_path), 0.7)
    assert values(open_study(tmp_path)) == [0.5, 0.7]


def test_a_journal_of_nothing_but_a_cut_off_line(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_bytes(b'{"op_co')
    one_trial(open_study(tmp_path), 0.7)
    assert values(open_study(tmp_path)) == [0.7]


def test_no_other_process_writes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna's own lock is held: a tool of Optuna's waits for us, and we for it."""
    study, journal = open_study(tmp_path), tmp_path / JOURNAL
    before, lock = journal.read_bytes(), JournalFileOpenLock(str(journal))
    writer = threading.Thread(target=one_trial, args=(study, 0.5))
    waits, sleep = threading.Event(), time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: (waits.set(), sleep(seconds)))
    lock.acquire()
    try:
        writer.start()
        assert waits.wait(LONGEST_WAIT), "between two looks at the lock Optuna sleeps"
        assert journal.read_bytes() == before
    finally:
        lock.release()
    writer.join()
    assert values(study) == [0.5]


def test_why_the_backend_is_ours(tmp_path: Path) -> None:
    """Optuna's own: still spoilt by a full disk, or time to go back to it."""
    journal = tmp_path / JOURNAL

    def opened() -> optuna.Study:
        storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=JournalFileOpenLock(str(journal))))
        return optuna.create_study(storage=storage, study_name="s", load_if_exists=True)

    study = opened()
    one_trial(study, 0.5)
    cut_off(study, journal)
    try:
        one_trial(opened(), 0.7)
        spoilt = values(opened()) != [0.5, 0.7]
    except ValueError:  # a JSONDecodeError is one
        spoilt = True
    if not spoilt:
        pytest.skip("this release of Optuna takes back what it could not write")
