"""Methods side by side on the same images and random seeds."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_platform.api._comparison import Comparison
from wsss_platform.api._data import Data, data_of
from wsss_platform.api._train import workers_or_local
from wsss_platform.config.options import taken
from wsss_platform.config.verb_options import CompareOptions
from wsss_platform.errors import InputError, unknown

if TYPE_CHECKING:
    from wsss_platform.config import DataConfig
    from wsss_platform.config.recipes import Recipe
    from wsss_platform.plan.documents import ComparisonPlan
    from wsss_platform.plan.experiment import Experiment, Stage
    from wsss_platform.report.comparison import ScoredVariant, Where
    from wsss_platform.store.artefacts import Store

log = logging.getLogger(__name__)

Entry = str | tuple[str, Mapping[str, Any]]
"""A method, or a method with settings by dotted path."""


@dataclass(frozen=True)
class PlannedComparison:
    """A comparison that can begin."""

    variants: Mapping[str, tuple[Experiment, ...]]
    """Label -> one experiment for each random seed."""
    store: Store
    name: str
    at: Where
    images: int
    local: bool
    gpus_per_worker: float | None
    wandb: str
    recipe: str
    """TOML that makes it again."""

    @property
    def folder(self) -> Path:
        """Where its table, bars and images go."""
        return self.store.root / "comparisons" / (self.name if self.at == "best" else f"{self.name}-{self.at}")

    def document(self) -> ComparisonPlan:
        """What would run. Starts nothing."""
        from wsss_platform.plan.documents import ComparisonPlan, ComparisonRun

        runs = []
        for label, experiments in self.variants.items():
            for experiment in experiments:
                todo = tuple(stage.name for stage in self._missing(experiment))
                stored = len(experiment.stages) - len(todo)
                runs.append(
                    ComparisonRun(variant=label, seed=experiment.seed, run=todo, stored=stored, key=experiment.key)
                )
        return ComparisonPlan(comparison=self.name, runs=tuple(runs))

    def run(self, progress: bool = True) -> Comparison:
        """Do it, with records, and progress on standard error."""
        from wsss_platform.report.comparison_folder import summarise, write
        from wsss_platform.report.progress import shown_log

        with shown_log(progress):
            self._make(progress)
            scored = self._scored(progress)
        document = summarise(self.name, self.folder, scored, self.at, self.recipe)
        return Comparison(write(document, scored, self.images))

    def _missing(self, experiment: Experiment) -> list[Stage]:
        """The stages that must run for the score and for the measurements beside it."""
        from wsss_platform.plan.experiment import needed
        from wsss_platform.report.comparison import looked_at

        stages, ends = experiment.stages, (experiment.stages[-1], looked_at(experiment, self.at))
        wanted = [stage.key for end in ends for stage in needed(stages, self.store, end)]
        return [stage for stage in stages if stage.key in wanted]

    def _make(self, progress: bool) -> None:
        """Every run of which something is not in the store, seed by seed, each with its own record."""
        from wsss_platform.api.recording import Recording
        from wsss_platform.api.runners import runner
        from wsss_platform.plan.experiment import needed
        from wsss_platform.report.comparison import looked_at
        from wsss_platform.report.progress import StageBars
        from wsss_platform.run.pipeline import run

        todo = [
            (f"{self.name}-{place}-{experiment.seed}", label, experiment)
            for place, (label, experiments) in enumerate(self.variants.items())
            for experiment in experiments
            if self._missing(experiment)
        ]
        todo.sort(key=lambda item: item[2].seed)
        if not todo:
            log.info("every run is in the store")
            return
        with runner(local=self.local, workers=todo[0][2].workers, gpus_per_worker=self.gpus_per_worker) as where:
            for number, (name, label, experiment) in enumerate(todo, 1):
                log.info("run %d of %d: %s, seed %d", number, len(todo), label, experiment.seed)
                bars: Any = StageBars() if progress else nullcontext(lambda event: None)
                with Recording(experiment, self.store, name, self.wandb) as recording, bars as view:
                    recording.run(where, experiment.stages[-1], view)
                    looked = looked_at(experiment, self.at)
                    if needed(experiment.stages, self.store, looked):  # scored before, and dropped since
                        run(experiment, self.store, where, view, until=looked)

    def _scored(self, progress: bool) -> list[ScoredVariant]:
        from wsss_platform.report.comparison import Variant, score_variants
        from wsss_platform.report.progress import counting

        variants = [Variant(label, experiments) for label, experiments in self.variants.items()]
        scored = score_variants(variants, self.store, self.at)
        with counting(progress, "images") as watch:
            for one in scored:
                one.count_effects(_counter(watch, f"counting {one.variant.label}", len(one.ids) * len(one.scores)))
        return scored


def _counter(watch: Callable[[str, int, int | None], None], what: str, total: int) -> Callable[[], None]:
    done = itertools.count(1)
    return lambda: watch(what, next(done), total)


def plan_comparison(
    variants: Mapping[str, Entry] | Sequence[str],
    data: Data | str | Path | None,
    settings: Mapping[str, Any] | None,
    options: CompareOptions,
    recipe: Recipe | None = None,
) -> PlannedComparison:
    """What `compare` does before it starts; `recipe` is one that was read."""
    from wsss_platform.config import fingerprint
    from wsss_platform.report.tables.comparison import AT
    from wsss_platform.store.artefacts import Store, check_name

    if options.at not in AT:
        raise unknown("--at", options.at, list(AT), "--at")
    resources = options.resources
    resources.check_local()
    numbers, config = seeds_of(options.seeds), data_of(data)
    planned, entries = {}, entries_of(variants)
    for label, entry in entries.items():
        first = _first(label, entry, settings or {}, config, options, recipe, numbers[0])
        planned[label] = tuple(replace(first, seed=seed) for seed in numbers)
    _check_truth(planned)
    keys = sorted(experiment.key for experiments in planned.values() for experiment in experiments)
    name = options.storage.name or _title(planned, config.kind, fingerprint(keys)[:8])
    return PlannedComparison(
        variants=planned,
        store=Store(options.storage.storage, resources.max_failures),
        name=check_name(name, "comparison name"),
        at=options.at,  # type: ignore[arg-type]  # checked above
        images=options.images,
        local=resources.local,
        gpus_per_worker=resources.gpus_per_worker,
        wandb=options.output.wandb,
        recipe=_recipe_of(entries, config, {**(recipe.settings if recipe else {}), **(settings or {})}, options),
    )


def _recipe_of(
    entries: Mapping[str, Entry], data: DataConfig, settings: Mapping[str, Any], options: CompareOptions
) -> str:
    """What was asked for, from recipe and arguments together, as one recipe without names of folders on this machine
    but that of the data."""
    from wsss_platform.api.experiments import apart
    from wsss_platform.config import DataConfig, leaves
    from wsss_platform.config.recipes import Variant, comparison_recipe

    common, changes = apart(settings)
    default = dict(leaves(DataConfig()))
    fields = {path: value for path, value in leaves(data) if path == "kind" or value != default[path]} | changes
    resources = options.resources
    return comparison_recipe(
        {label: Variant(*((entry, {}) if isinstance(entry, str) else entry)) for label, entry in entries.items()},
        fields,
        common,
        {
            "preset": options.method.preset,
            "workers": resources.workers if resources.workers > 1 else None,
            "max_failures": resources.max_failures or None,
            "local": resources.local or None,
        },
        {"seeds": seeds_of(options.seeds), "at": options.at},
    )


def entries_of(variants: Mapping[str, Entry] | Sequence[str]) -> dict[str, Entry]:
    """The variants by label; InputError for none, one twice, or one that is neither a method nor (method, settings)."""
    if isinstance(variants, str):
        raise InputError(f"compare: expected several variants, got {variants!r}; write [{variants!r}]")
    pairs = list(variants.items()) if isinstance(variants, Mapping) else [(label, label) for label in variants]
    if not pairs:
        raise InputError("compare: no variants; expected at least one method")
    found: dict[str, Entry] = {}
    for label, entry in pairs:
        if label in found:
            raise InputError(f"two variants are called {label!r}; give them different labels", field=label)
        whole = isinstance(entry, tuple | list) and len(entry) == 2 and isinstance(entry[1], Mapping)
        if not isinstance(entry, str) and not (whole and isinstance(entry[0], str)):
            raise InputError(f"variant {label!r}: expected a method, or (method, settings), got {entry!r}", field=label)
        found[label] = entry
    return found


def _first(
    label: str,
    entry: Entry,
    settings: Mapping[str, Any],
    data: Any,
    options: CompareOptions,
    recipe: Recipe | None,
    seed: int,
) -> Experiment:
    """A variant's experiment with the first random seed; errors name the variant."""
    from wsss_platform.api.experiments import NO_RECIPE, build_experiment

    method, own = (entry, {}) if isinstance(entry, str) else entry
    try:
        return build_experiment(
            method,
            data,
            {**settings, **own},
            preset=options.method.preset,
            recipe=recipe or NO_RECIPE,
            seed=seed,
            workers=options.resources.workers,
        )
    except InputError as error:
        raise error.in_context(f"{error} (in variant {label!r})") from None


def seeds_of(text: str) -> list[int]:
    """Random seeds from their option: "3" is a number of them, from 0; "0,2,5" are the seeds themselves.

    Raises:
        InputError: neither, or none, equal or negative ones.
    """
    try:
        found = [int(item) for item in text.removesuffix(",").split(",")] if "," in text else list(range(int(text)))
    except ValueError:
        found = []
    if not found or min(found) < 0 or len(set(found)) != len(found):
        told = f"--seeds {text!r}: expected a number of seeds, or different numbers such as 0,2,5"
        raise InputError(told, field="--seeds")
    return found


def _check_truth(planned: Mapping[str, tuple[Experiment, ...]]) -> None:
    """Differences are paired over images, so all variants must be scored with the same ground truth."""
    (first, *_), *others = planned.values()
    for label, (other, *_) in zip(list(planned)[1:], others, strict=True):
        if other.truth_fingerprint(other.data.score_list) != first.truth_fingerprint(first.data.score_list):
            raise InputError(
                f"variant {label!r} is scored on other images or another ground truth than {next(iter(planned))!r}; "
                "expected the same for all variants (--data, --score-split and --set data. count for each of them)"
            )


def _title(planned: Mapping[str, Any], data: str, digest: str) -> str:
    """A name for a folder from labels that may hold settings."""
    labels = re.sub(r"(?:[^A-Za-z0-9_+.]|\.\.)+", "-", "-".join(planned))[:60].strip("+._-")
    return f"{labels or 'variants'}-{data}-{digest}"


def compare(
    variants: Mapping[str, Entry] | Sequence[str],
    data: Data | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    seeds: int | Iterable[int] = 3,
    at: str = "best",
    images: int = 6,
    preset: str | None = None,
    name: str | None = None,
    storage: str | Path | None = None,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    max_failures: int = 0,
    wandb: str | None = None,
    progress: bool = True,
) -> Comparison:
    """Train and score several methods, or one with several settings, over several random seeds.

    Runs that are in the storage folder are cached; the same call continues where it stopped.

    Args:
        variants: label -> a method, or a method with its settings: {"cam": "cam", "ours": ("fbr", {"loss.x": 0.1})};
            or just methods. The first is the baseline that the others are compared with.
        data: `wsss.sample()` or another data set, or a folder; None: the built-in sample.
        settings: of every variant, by dotted path.
        seeds: how many random seeds, or which.
        at: "best" (each where its own sweep is best), "masks" (pseudo masks as made), or "background" (each where it
            takes as much of the background as the baseline does at its best).
        images: how many to draw where the variants differ.
        preset: a shipped partial config; None: "sample" on the sample.
        name: of the comparison; None: labels, data and a hash.
        storage: folder of stages, runs and comparisons.
        workers: None trains in this process, without Ray; 1 or more are processes of Ray Train.
        gpus_per_worker: with `workers`; None: 1 where there are GPUs.
        max_failures: images that may fail.
        wandb: mode of tracking.
        progress: bars and notes on standard error.

    Returns:
        The comparison: `.rows` and `.differences` with paired intervals, in percent; `.to_markdown()`, `.folder`.

    Raises:
        InputError: something that was given is wrong, or variants are scored on different images.
        RunError: a training failed.
    """
    given = {
        "seeds": seeds if isinstance(seeds, int | str) else list(seeds),
        "at": at,
        "images": images,
        "preset": preset,
        "name": name,
        "storage": storage,
        "gpus_per_worker": gpus_per_worker,
        "max_failures": max_failures,
        "wandb": wandb,
        **workers_or_local(workers),
    }
    return plan_comparison(variants, data, settings, taken(CompareOptions, given)).run(progress)
