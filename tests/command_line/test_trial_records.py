"""What a study records of its trials, so that nothing of theirs is lost or left behind: every seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from told_study import RATE, Study
from wsss_platform.api import study_records
from wsss_platform.api.study_records import StudyRecords
from wsss_platform.run.records import read_record
from wsss_platform.upkeep.inventory import references


class Seeds(Study):
    """A study of three seeds per trial."""

    def __init__(self, root: Path, keep_best: int) -> None:
        super().__init__(root, keep_best, RATE)
        self.request = self.request.with_options(seeds=3)
        self.view = StudyRecords(self.request)


def test_every_seed_of_a_running_trial_has_a_record(tmp_path: Path) -> None:
    names = ["s-0000", "s-0000-seed1", "s-0000-seed2"]
    with (study := Seeds(tmp_path, 1)).view:
        number = study.start({})
        records = [read_record(study.store, name) for name in names]
        assert [(record.status, record.seed) for record in records] == [("running", seed) for seed in range(3)]
        assert len({record.stages["train:cam"] for record in records}) == 3
        owned = references(study.store).owners()
        wanted = {stage.key for seed in range(3) for stage in study.request.experiment.of_seed(seed).stages}
        assert wanted <= owned.keys(), "what a later seed is about to make belongs to somebody already"
        study.end(number, {}, None)
    ended = [read_record(study.store, name) for name in names]
    assert [(record.status, record.reason) for record in ended] == [("failed", "NaN")] * 3, "none is left running"
    with (again := Seeds(tmp_path, 1)).view as view:
        view.record(again.view._rows())
    assert [read_record(study.store, name) for name in names] == ended, "what is recorded is not recorded again"


def test_what_lost_is_dropped_less_often_in_a_long_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the end of the study drops what was passed over."""
    monkeypatch.setattr(study_records, "EACH", 2)
    monkeypatch.setattr(study_records, "SOME", 4)
    study = Study(tmp_path, keep_best=1, axes=RATE)
    rates = [{"train.learning_rate": 1e-3 * (1 + number)} for number in range(5)]
    kept, dropped = {"train", "maps", "masks", "score"}, {"train", "score"}
    study.trial(rates[0], 0.4)
    study.trial(rates[1], 0.5)
    assert study.kinds(rates[0]) == dropped
    study.trial(rates[2], 0.3)
    assert study.kinds(rates[2]) == kept
    study.trial(rates[3], 0.2)
    assert (study.kinds(rates[2]), study.kinds(rates[3])) == (dropped, dropped)
    study.trial(rates[4], 0.1)
    assert study.kinds(rates[4]) == kept
    study.view.drop_losers()
    assert study.kinds(rates[4]) == dropped
