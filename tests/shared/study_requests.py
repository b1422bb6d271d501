"""Requests for studies, and searchers, with options given flat."""

from __future__ import annotations

from typing import Any

from wsss_platform.config import MethodConfig
from wsss_platform.config.options import build
from wsss_platform.plan.experiment import Experiment
from wsss_platform.search.space import SearchSpace
from wsss_platform.store.artefacts import Store
from wsss_platform.tune.options import StudyOptions
from wsss_platform.tune.request import StudyRequest
from wsss_platform.tune.searcher import StudySearcher
from wsss_platform.tune.study import StudyFolder

OF_REQUEST = ("rule", "report_list", "runner", "cpus_per_worker")
OF_SEARCHER = ("pruner", "started", "on_finish", "halt")


def study_options(**given: Any) -> StudyOptions:
    """Options of a study by their names, such as trials=3; objectives may be a tuple."""
    if not isinstance(given.get("objectives", ""), str):
        given["objectives"] = ",".join(given["objectives"])
    return build(StudyOptions, given)


def study_request(experiment: Experiment, space: SearchSpace, trials: int, store: Store, **more: Any) -> StudyRequest:
    """A study named "study" whose axes are all trials'; `more` are fields of the request, or options."""
    fields = {name: more.pop(name) for name in OF_REQUEST if name in more}
    options = study_options(**{"name": "study", "workers": experiment.workers, "trials": trials, "inner": 0, **more})
    return StudyRequest(experiment, space, store, options, **fields)


def study_searcher(folder: StudyFolder, space: SearchSpace, config: MethodConfig, **more: Any) -> StudySearcher:
    """A searcher whose draws have random seed 3; `more` are its arguments, or options."""
    fields = {name: more.pop(name) for name in OF_SEARCHER if name in more}
    return StudySearcher(folder, space, config, study_options(**{"sampler_seed": 3, **more}), **fields)
