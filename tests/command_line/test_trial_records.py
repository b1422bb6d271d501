"""What a study records of its trials, so that nothing of theirs is lost or left behind: every seed, every variant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from told_study import ALPHA, RATE, WHOLE, Study
from wsss_platform.cli.study import StudyView
from wsss_platform.engine import events
from wsss_platform.engine.study import StudyFolder
from wsss_platform.inventory import references
from wsss_platform.label_free import variant_stages, variants
from wsss_platform.selection import judged_by, read_rule
from wsss_platform.tracking.records import read_record, read_records


class Seeds(Study):
    """A study of three seeds per trial."""

    def __init__(self, root: Path, keep_best: int) -> None:
        super().__init__(root, keep_best, RATE)
        self.request = replace(self.request, seeds=3)
        self.view = StudyView(self.request, "disabled", keep_best)


def test_every_seed_of_a_running_trial_has_a_record(tmp_path: Path) -> None:
    names = ["s-0000", "s-0000-seed1", "s-0000-seed2"]
    with (study := Seeds(tmp_path, 1)).view:
        number = study.start({})
        records = [read_record(study.store, name) for name in names]
        assert [(record.status, record.seed) for record in records] == [("running", seed) for seed in range(3)]
        assert len({record.stages["train:cam"] for record in records}) == 3
        owned = references(study.store).owners()
        wanted = {stage.key for seed in range(3) for stage in study.request.of_seed(seed).stages}
        assert wanted <= owned.keys(), "what a later seed is about to make belongs to somebody already"
        study.end(number, {}, None)
    ended = [read_record(study.store, name) for name in names]
    assert [(record.status, record.reason) for record in ended] == [("failed", "NaN")] * 3, "none is left running"
    with (again := Seeds(tmp_path, 1)).view as view:
        view.record(again.view._rows())
    assert [read_record(study.store, name) for name in names] == ended, "what is recorded is not recorded again"


class LabelFree(Study):
    """A study that sees no pixel truth."""

    def __init__(self, root: Path, keep_best: int, axes: dict[str, object]) -> None:
        super().__init__(root, keep_best, axes)
        rule = read_rule("none", self.base.data)
        self.base = judged_by(rule, self.base)
        self.request = replace(self.request, experiment=self.base, rule=rule, name="free")
        self.folder = StudyFolder(self.store.study_folder("free"), self.request.identity())
        self.view = StudyView(self.request, "disabled", keep_best)

    def trial(self, changes: dict[str, object], objective: float) -> None:
        """Its masks and those of its variants; no score."""
        number = self.start(changes)
        for item in variants(self.experiment(changes)).values():
            for stage in item.stages:
                if stage.kind != "score" and not self.store.has(stage.kind, stage.key):
                    with self.store.building(stage.kind, stage.key) as folder:
                        assert folder is not None
                        self.store.commit(stage.kind, stage.key, {"inputs": {}, "seconds": 1.0})
        self.folder.study.tell(number, objective)
        self.folder.write_tables(self.base.config)
        self.view(events.TrialFinished(number, "complete", objective, None, 1.0, None, None))

    def left(self, changes: dict[str, object]) -> int:
        """How many maps and masks of a trial's variants are there."""
        named = variant_stages(self.experiment(changes)).items()
        return sum(self.store.has(name.split(":")[0], key) for name, key in named)


def test_variants_of_label_free_trials_are_owned_and_dropped_with_them(tmp_path: Path) -> None:
    fast, slow = {"train.learning_rate": 1e-2}, {"train.learning_rate": 1e-4}
    with (study := LabelFree(tmp_path, 1, RATE)).view:
        every = len(variant_stages(study.base))
        assert every > 6, "maps and masks of plain, mirrored and scaled, and a CRF's masks"
        study.trial(fast, 0.5)
        assert set(variant_stages(study.experiment(fast)).values()) <= references(study.store).owners().keys()
        assert study.left(fast) == every
        study.trial(slow, 0.9)
    assert (study.left(fast), study.left(slow)) == (0, every)
    assert study.kinds(slow) == WHOLE - {"score"}
    assert study.kinds(fast) == {"train"}
    assert len(read_records(study.store).records) == 2


def test_variants_that_the_next_trials_need_stay(tmp_path: Path) -> None:
    with (study := LabelFree(tmp_path, 1, ALPHA)).view:
        study.trial({"masks.alpha": 2.0}, 0.9)
        study.trial({"masks.alpha": 3.0}, 0.5)
    lost = variant_stages(study.experiment({"masks.alpha": 3.0}))
    kept = {name.split(":")[0] for name, key in lost.items() if study.store.has(name.split(":")[0], key)}
    assert kept == {"maps"}, "maps of the variants are the same for all trials, their masks are not"
