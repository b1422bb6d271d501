"""The counts of scored maps at every score floor and saliency cut: asked for by itself, no stage depends on it."""

from __future__ import annotations

from collections.abc import Callable

from wsss_platform.config import fingerprint
from wsss_platform.errors import InputError
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.jobs import ChunkReport, Runner
from wsss_platform.run.chunks.images import chunks_of
from wsss_platform.run.chunks.saliency import SaliencyWork, saliency_pairs
from wsss_platform.run.pipeline import check_failures
from wsss_platform.store.artefacts import Artefact, Store

_SALIENCY = "saliency-sweep"  # the kind in the store


def sweep_saliency(
    experiment: Experiment, store: Store, runner: Runner, on_chunk: Callable[[ChunkReport], None] = lambda report: None
) -> Artefact:
    """The counts at every score floor and saliency cut of the scored maps, made once ("saliency-sweep" in the store).

    Raises:
        InputError: the maps are not in the store, or images without saliency or ground truth that fits; names them.
    """
    scored = experiment.stage("score")
    maps = scored.inputs["maps"]
    if not store.has("maps", maps.key):
        raise InputError("the maps of this run are not in the store; first: wsss-platform maps RUN")
    key = _saliency_key(experiment)
    with store.building(_SALIENCY, key) as folder:
        if folder is None:
            return store.open(_SALIENCY, key)
        source = store.open("maps", maps.key).folder
        failures: list[tuple[str, str]] = []

        def report(place: int, chunk: ChunkReport) -> None:
            failures.extend(chunk.failures)
            on_chunk(chunk)

        ids = experiment.dataset.split(scored.list_name).ids
        work = SaliencyWork(experiment, scored.phase, scored.list_name, folder, maps=source)
        runner.chunks([work], chunks_of(ids), report)
        check_failures("saliency sweep", folder, failures, len(ids), store.max_failures)
        truth = experiment.truth_fingerprint(scored.list_name)[:12]
        said = {"list": scored.list_name, "truth": truth, "inputs": {"maps": maps.key}, "failures": len(failures)}
        return store.commit(_SALIENCY, key, said)


def saliency_artefact(experiment: Experiment, store: Store) -> Artefact | None:
    """What `sweep_saliency` left in the store, if it did."""
    key = _saliency_key(experiment)
    return store.open(_SALIENCY, key) if store.has(_SALIENCY, key) else None


def _saliency_key(experiment: Experiment) -> str:
    scored = experiment.stage("score")
    pairs = saliency_pairs(experiment.masks_config(scored.phase))
    return fingerprint(
        {
            "kind": _SALIENCY,
            "maps": scored.inputs["maps"].key,
            "truth": experiment.truth_fingerprint(scored.list_name),
            "saliency": experiment.saliency_fingerprint(scored.list_name),
            "pairs": [pairs.floors.tolist(), pairs.cuts.tolist(), pairs.conflict_level],
        }
    )
