"""What a study records of its trials, so that nothing of theirs is lost or left behind: every seed."""

from __future__ import annotations

from pathlib import Path

from told_study import RATE, Study
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
