"""A recorded run, perhaps with changes, and the names of runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from wsss_platform.api import experiments
from wsss_platform.config import fingerprint
from wsss_platform.errors import InputError, unknown
from wsss_platform.plan.experiment import Experiment, Kind, Stage
from wsss_platform.run.records import read_record
from wsss_platform.store.artefacts import Store


def default_name(experiment: Experiment) -> str:
    """Method, data and a hash of all settings: the same command continues the same run."""
    settings = fingerprint(
        {
            "config": experiment.config,
            "data": experiment.data,
            "seed": experiment.seed,
            "workers": experiment.workers,
            "revision": experiment.method.revision,
        }
    )
    return f"{experiment.method.name.replace(':', '.')}-{experiment.data.kind}-{settings[:8]}"


def load_run(
    store: Store,
    run: str,
    score_list: str | None = None,
    changes: Mapping[str, Any] | None = None,
    file: Path | None = None,
) -> tuple[Experiment, str]:
    """A recorded run's experiment with changes, and its name: RUN, or RUN+list+hash when something differs.

    `file` holds fields as `train --recipe` takes them; `changes` come after it.

    Raises:
        InputError: no such run, or a change that would train again.
    """
    record = read_record(store, run)
    base = experiments.reload_experiment(
        record.method, record.config, record.data, record.seed, record.workers, f"run {run}"
    )
    config_changes, data_changes = experiments.apart(changes or {})
    config_changes = experiments.fields_of(file) | config_changes
    if not config_changes and not data_changes and score_list in (None, base.data.score_list):
        return base, run
    data = experiments.build_data(base.data, data_changes, score_list=score_list or base.data.score_list)
    config = experiments.with_changes(base.config, config_changes) if config_changes else base.config
    changed = Experiment(base.method, config, data, base.seed, base.workers)
    experiments.check_lists(changed)
    experiments.check_gates(changed)
    if changed.source.key != base.source.key:
        if changed.source.kind != "train":
            raise InputError(
                f"run {run}: this changes what was imported; use `wsss-platform import-{changed.source.kind}`"
            )
        given = " ".join(
            [
                *(["--config", str(file)] if file else []),
                *(f"{path}={value}" for path, value in (changes or {}).items()),
            ]
        )
        raise InputError(f"--set {given}: this changes the training; use `wsss-platform train`")
    suffix = f"+{data.score_list}" if data.score_list != base.data.score_list else ""
    if config != base.config or data_changes:
        suffix += f"+{fingerprint([config, data])[:6]}"
    return changed, run + suffix


def last_stage(experiment: Experiment, until: str) -> Stage:
    """The stage a verb ends with."""
    if until not in ("train", "maps", "masks", "score"):
        raise unknown("stage (--until)", until, ["train", "maps", "masks", "score"])
    return experiment.stage(cast("Kind", until))
