"""Who moves, what a copy changes, and that all of it follows from the seed."""

from __future__ import annotations

import json
import random
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from ray.tune.schedulers import PopulationBasedTraining

import wsss_methods
from wsss_platform.cli.population import check_rule, moving, plan, plan_words, read_population
from wsss_platform.cli.search_plan import search_plan, search_words
from wsss_platform.config import DataConfig, MethodConfig, SampleConfig, override
from wsss_platform.engine.halting import Halt
from wsss_platform.engine.lineage import Grown, Lineage, ends, schedule_figure, write_schedule
from wsss_platform.engine.member import of_schedule
from wsss_platform.engine.population import Population, explored, first_values, movable
from wsss_platform.engine.population_run import slot
from wsss_platform.engine.population_scheduler import SeededPopulation
from wsss_platform.engine.request import StudyRequest
from wsss_platform.engine.study import TrialRow
from wsss_platform.engine.study_page import write_page
from wsss_platform.errors import InputError
from wsss_platform.experiment import Experiment
from wsss_platform.schedule import in_force
from wsss_platform.search.space import SearchSpace, load_space, read_space
from wsss_platform.selection import SelectionRule
from wsss_platform.store import Store

sys.path.insert(0, str(Path(__file__).parents[2] / "ray"))
from tiny_method import tiny_sample

SPACES = Path(__file__).parents[3] / "search_spaces"
AXES = {
    "loss.contrast": {"kind": "float", "low": 0.01, "high": 1.0, "log": True},
    "train.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2},
    "train.flip": {"kind": "categorical", "choices": [True, False]},
}


def space(axes: dict[str, Any], config: MethodConfig) -> SearchSpace:
    return read_space(
        {"axes": {path: {"reason": "to test with", **table} for path, table in axes.items()}}, config, "s"
    )


def tiny(epochs: int = 4) -> Experiment:
    experiment = tiny_sample()
    return replace(experiment, config=override(experiment.config, {"train.epochs": epochs}))


def of_method(name: str, **changes: Any) -> Experiment:
    method = wsss_methods.get(name)
    config = override(method.config(), {path.replace("__", "."): value for path, value in changes.items()})
    return Experiment(method, config, DataConfig(sample=SampleConfig(train=4, val=2, size=48)))


def test_draws_follow_from_the_seed_and_stay_on_the_axes() -> None:
    experiment, population = tiny(), Population()
    axes = space(AXES, experiment.config)
    assert first_values(axes, experiment, 5, 0) == {
        "loss.contrast": 0.1,
        "train.learning_rate": 1e-3,
        "train.flip": True,
    }
    members = [first_values(axes, experiment, 5, number) for number in range(1, 40)]
    assert members == [first_values(axes, experiment, 5, number) for number in range(1, 40)]
    assert len({str(values) for values in members}) == 39
    assert members[0] != first_values(axes, experiment, 6, 1)
    moved = [explored(axes, members[0], population, 5, number, 2) for number in range(300)]
    assert moved == [explored(axes, members[0], population, 5, number, 2) for number in range(300)]
    assert moved[7] != explored(axes, members[0], population, 5, 7, 3)
    for values in (*members, *moved):
        assert 0.01 <= values["loss.contrast"] <= 1
        assert 1e-4 <= values["train.learning_rate"] <= 1e-2
    assert {values["train.flip"] for values in moved} == {True, False}


def test_a_copy_moves_by_the_factors_or_draws_anew() -> None:
    config = of_method("fbr").config
    axes = space(
        {
            "sampling.temperature": {"kind": "float", "low": 0.1, "high": 1.0},
            "sampling.clusters": {"kind": "int", "low": 2, "high": 32, "step": 2},
            "sampling.negatives": {"kind": "categorical", "choices": [64, 128, 256, 512]},
        },
        config,
    )
    here = {"sampling.temperature": 0.5, "sampling.clusters": 4, "sampling.negatives": 64}
    perturbed = [explored(axes, here, Population(resample=0), 0, number, 1) for number in range(200)]
    assert {round(values["sampling.temperature"], 6) for values in perturbed} == {0.4, 0.6}
    assert {values["sampling.clusters"] for values in perturbed} == {2, 6}  # 4.8 and 3.2 would both be 4
    assert {values["sampling.negatives"] for values in perturbed} == {64, 128}
    anew = [explored(axes, here, Population(resample=1), 0, number, 1) for number in range(200)]
    assert {values["sampling.negatives"] for values in anew} == {64, 128, 256, 512}
    assert len({values["sampling.temperature"] for values in anew}) == 200
    assert {values["sampling.clusters"] for values in anew} <= set(range(2, 33, 2))
    edge = [explored(axes, {**here, "sampling.temperature": 0.95}, Population(resample=0), 0, n, 1) for n in range(50)]
    assert {round(values["sampling.temperature"], 6) for values in edge} == {0.76, 1.0}


def test_fbr_s_own_space_keeps_what_is_read_at_each_step() -> None:
    experiment = of_method("fbr")
    free, held = movable(experiment, load_space(SPACES / "fbr.toml", experiment.config))
    assert {axis.path for axis in free.axes} == {
        "loss.negative_regions",
        "loss.intra_foreground",
        "loss.decorrelation",
        "sampling.temperature",
        "sampling.sure_cut",
        "sampling.entropy_quantile",
        "sampling.clusters",
        "sampling.negatives",
        "sampling.prototype_fraction",
        "sampling.anchors",
    }
    assert held.keys() == {"seed.masks.confident_foreground", "seed.masks.confident_background"}
    assert all("does not read it" in reason for reason in held.values())


def test_axes_that_shape_the_network_or_that_nobody_reads_are_held() -> None:
    experiment = of_method("fbr")
    axes = space(
        {
            "sampling.bank_size": {"kind": "int", "low": 100, "high": 1000},
            "heads.projection": {"kind": "int", "low": 16, "high": 64},
            "train.batch": {"kind": "int", "low": 8, "high": 16},
            "train.learning_rate": {"kind": "float", "low": 1e-5, "high": 1e-3},
        },
        experiment.config,
    )
    free, held = movable(experiment, axes)
    assert [axis.path for axis in free.axes] == ["train.learning_rate"]
    assert "at 100 the network has other parameters" in held["sampling.bank_size"]
    assert "other parameters" in held["heads.projection"]
    assert "sets the length" in held["train.batch"]
    silent = tiny()
    with pytest.raises(InputError, match=r"no axis .* may change .*trouble.seconds: the objective does not say"):
        movable(silent, space({"trouble.seconds": {"kind": "float", "low": 0.0, "high": 1.0}}, silent.config))


def test_a_refined_phase_is_refused() -> None:
    experiment = of_method("cam", affinity__kind="psa")
    axes = space({"train.learning_rate": {"kind": "float", "low": 1e-5, "high": 1e-3}}, experiment.config)
    with pytest.raises(InputError, match="set affinity.kind = 'none'"):
        movable(experiment, axes)


def test_conditional_axes_are_held() -> None:
    experiment = of_method("fbr")
    axes = space(
        {
            "sampling.anchors": {"kind": "categorical", "choices": ["all", "agreeing"]},
            "sampling.sure_cut": {"kind": "float", "low": 0.2, "high": 0.8, "when": {"sampling.anchors": "all"}},
            "sampling.temperature": {"kind": "float", "low": 0.1, "high": 1.0},
        },
        experiment.config,
    )
    free, held = movable(experiment, axes)
    assert [axis.path for axis in free.axes] == ["sampling.temperature"]
    assert held["sampling.sure_cut"] == "it exists only beside certain values of other axes"
    assert held["sampling.anchors"] == "other axes exist only beside certain values of it"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"members": 1}, "members: expected at least 2"),
        ({"interval": 0}, "interval: expected at least 1"),
        ({"quantile": 0.6}, "quantile: expected more than 0 and at most 0.5"),
        ({"resample": 2.0}, r"resample: expected 0\.\.1"),
    ],
)
def test_wrong_populations_are_told(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Population(**wrong)


def test_options_that_do_not_go_together_are_told() -> None:
    assert read_population("asha", None, None, {"--trials": 3}) is None
    assert read_population("pbt", 5, None, {"--trials": None}) == Population(members=5)
    with pytest.raises(InputError, match="--interval belongs to --scheduler pbt"):
        read_population("none", None, 2, {})
    with pytest.raises(InputError, match="--trials: .*the number of members is --population"):
        read_population("pbt", None, None, {"--trials": 3})
    axes = space(AXES, tiny(2).config)
    with pytest.raises(InputError, match="no member would ever be judged; expected at most 1"):
        moving(Population(interval=2), tiny(2), axes)
    assert moving(None, tiny(2), axes) is axes
    late = of_method("rtc", **{"train.epochs": 8})  # its head begins after two epochs
    both = space(
        {
            "loss.structure": {"kind": "float", "low": 0.1, "high": 2.0},
            "segmentation.start": {"kind": "float", "low": 1.0, "high": 5.0},
        },
        late.config,
    )
    with pytest.raises(InputError, match=r"--interval 2: .*segmentation\.start = 2 epochs; expected at least 3"):
        moving(Population(interval=2), late, both)
    assert [axis.path for axis in moving(Population(interval=3), late, both).axes] == ["loss.structure"]
    check_rule(None, SelectionRule("none"))
    check_rule(Population(), SelectionRule("train"))
    with pytest.raises(InputError, match="--selection none sees no score"):
        check_rule(Population(), SelectionRule("none"))


def test_a_request_for_a_population_is_checked(tmp_path: Path) -> None:
    experiment = tiny()
    axes = space(AXES, experiment.config)

    def ask(trials: int = 4, **more: Any) -> StudyRequest:
        return StudyRequest(
            experiment, axes, trials, Store(tmp_path), "s", **{"population": Population(), "scheduler": "pbt", **more}
        )

    assert ask().rungs == ()
    assert ask().identity()["population"]["members"] == 4
    plain = StudyRequest(experiment, axes, 4, Store(tmp_path), "s")
    assert plain.identity()["population"] is None
    for wrong, message in (
        ({"trials": 5}, "a population of 4 has as many"),
        ({"seeds": 2}, "seeds: population based training"),
        ({"sampler": "random"}, "sampler: population based training"),
        ({"hours": 1.0}, "hours: population based training"),
        ({"rule": SelectionRule("none")}, "--selection none sees no score"),
        ({"objectives": ("accuracy", "seconds")}, "objectives"),
        ({"scheduler": "asha"}, "it belongs to scheduler 'pbt', and that to one; got 'asha'"),
        ({"population": None}, "it belongs to scheduler 'pbt', and that to one; got 'pbt'"),
    ):
        with pytest.raises(InputError, match=message):
            ask(**wrong)


@pytest.mark.parametrize(
    ("done", "interval", "epochs", "found"),
    [(0, 1, 3, (1, 2, 3)), (0, 2, 5, (2, 4, 5)), (2, 2, 4, (4,)), (4, 2, 4, ()), (0, 9, 4, (4,))],
)
def test_ends_of_segments(done: int, interval: int, epochs: int, found: tuple[int, ...]) -> None:
    assert ends(done, interval, epochs) == found


def test_a_lineage_is_a_schedule(tmp_path: Path) -> None:
    lineage = (
        Lineage()
        .with_next(Grown(1, {"loss.contrast": 0.2}, 2, 0.31))
        .with_next(Grown(2, {"loss.contrast": 0.3}, 0, None))
    )
    assert Lineage.from_json(lineage.to_json()) == lineage
    whole = lineage.schedule((3, 4), {"loss.contrast": 0.4})
    assert [item["until"] for item in whole] == [1, 2, 3, 4]
    experiment = of_schedule(tiny(), whole)
    trainings = [stage for stage in experiment.stages if stage.kind == "train"]
    in_use = [in_force(experiment.config, stage.segment) for stage in trainings]
    assert [config.loss.contrast for config in in_use] == [0.2, 0.3, 0.4, 0.4]  # type: ignore[attr-defined]
    write_schedule(tmp_path, 3, lineage)
    assert Lineage.from_json((tmp_path / "members" / "0003" / "schedule.json").read_text()) == lineage


def test_schedules_are_drawn() -> None:
    schedule = [{"until": 1, "values": {"a": 0.1, "b": "x"}}, {"until": 2, "values": {"a": 0.2, "b": "y"}}]
    row = TrialRow(1, "complete", {"schedule": schedule}, 0.3, None, None, {1: 0.2}, 1.0, None, None)
    figure = schedule_figure([row, replace(row, number=2)])
    assert [panel.get_ylabel() for panel in figure.axes] == ["a", "b", "judged, percent"]
    assert len(figure.axes[0].lines) == 2
    with pytest.raises(ValueError, match="no member"):
        schedule_figure([replace(row, changes={})])


def test_about_as_many_members_run_as_there_is_room_for() -> None:
    def node(memory: float) -> dict[str, Any]:
        return {"Resources": {"memory": memory}}

    for at_once in (1, 2, 3, 8):
        each = slot([node(1000.0)], at_once)
        assert 1000 // each == at_once
    assert 1000 // slot([node(1000.0), node(1000.0)], 3) == 2  # two on each node
    assert slot([node(0.0)], 4) == 1


def test_the_plan_says_how_a_population_is_judged() -> None:
    document = plan(Population(members=3, interval=2), tiny(5))
    assert plan(None, tiny(5)) == {}
    assert plan_words({}) == []
    assert document["population"] == {
        **Population(members=3, interval=2).identity(),
        "epochs": 5,
        "judgements": 6,
        "pictures at most": StudyRequest.rung_pictures,
    }
    words = " ".join(plan_words(document))
    assert "3 members, judged 2 times, every 2 of 5 epochs" in words
    assert "3 x 2 = 6 judgements" in words
    experiment = tiny(5)
    named = {"sampler": "tpe", "scheduler": "pbt", "objectives": ["accuracy"]}
    budget = {"trials": 3, "hours": None, "gpu_hours": None}
    search = search_plan(experiment, space(AXES, experiment.config), "train truth", named, budget, "s", 3)
    assert "sampler" not in search
    assert search_words(search) == ["scheduler pbt", "budget: 3 trials in total"]
    assert search_words(
        search_plan(
            experiment, space(AXES, experiment.config), "train truth", {**named, "scheduler": "none"}, budget, "s", 3
        )
    )[0].startswith("sampler tpe; scheduler none")


def test_the_page_leaves_out_pictures_of_what_members_began_with(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize")
    for number in range(4):
        changes = {"schedule": [{"until": 1, "values": {"a": 0.1}}, {"until": 2, "values": {"a": 0.2 + number}}]}
        study.add_trial(
            optuna.trial.create_trial(
                params={"a": 0.1 * number},
                distributions={"a": optuna.distributions.FloatDistribution(0, 1)},
                value=0.1 * number,
                user_attrs={"changes": changes},
                intermediate_values={1: 0.2},
            )
        )
    said: list[str] = []
    written = write_page(study, tmp_path, said.append)
    assert {path.stem for path in written} == {"history", "rungs", "schedules", "study"}
    assert said == [
        "importance.png, parallel.png, contour.png, rank.png are left out: members began with their parameters, "
        "and a copy gives them up"
    ]
    assert said[0] in (tmp_path / "study.html").read_text()


class Member:
    """What the scheduler reads of a trial of Tune."""

    def __init__(self, number: int) -> None:
        self.config = {"member": {"number": number}}


def test_ray_s_scheduler_is_seeded_and_spares_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It hangs on one method of Ray's that is not public: where Ray renames it, this fails."""
    assert "_checkpoint_or_exploit" in vars(PopulationBasedTraining)
    axes = space(AXES, tiny().config)
    seen: list[tuple[list[Any], float, dict[str, Any]]] = []

    def decide(self: Any, trial: Any, controller: Any, upper: list[Any], lower: list[Any]) -> None:
        values = {"loss.contrast": 0.1, "train.learning_rate": 1e-3, "train.flip": True}
        config = {"member": {"number": 2, "values": json.dumps(values)}}
        seen.append((lower, random.random(), self._custom_explore_fn(config)["member"]))

    monkeypatch.setattr(PopulationBasedTraining, "_checkpoint_or_exploit", decide)
    members = [Member(number) for number in range(3)]
    for _ in range(2):
        scheduler = SeededPopulation(Population(), axes, 4, Halt(tmp_path, lambda: False))
        scheduler._trial_state = defaultdict(lambda: SimpleNamespace(last_train_time=1))
        random.seed()
        state = random.getstate()
        for member in members[:2]:
            scheduler._checkpoint_or_exploit(member, None, [members[2]], members[:2])
        assert random.getstate() == state
    assert seen[:2] == seen[2:]
    assert [lower for lower, _, _ in seen[:2]] == [[members[1]], members[:2]]
    assert [config["number"] for _, _, config in seen[:2]] == [0, 1]
    assert seen[0][1] != seen[1][1]
