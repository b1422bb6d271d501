"""Maps and masks of other code in, each as a run."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wsss_platform.api._data import Data, data_of
from wsss_platform.api._defaults import RunOptions, storage_folder, wandb_mode
from wsss_platform.api._run import Run
from wsss_platform.api._train import PlannedRun
from wsss_platform.config.options import check
from wsss_platform.config.supervision import Knowledge, in_order, knowledge
from wsss_platform.errors import InputError, unknown

log = logging.getLogger(__name__)

Stated = Iterable[str | Knowledge]
"""Knowledge that went into maps or masks: KIND, KIND:MODEL or KIND:MODEL@HASH."""


def plan_import(
    folder: str | Path,
    name: str,
    data: Data | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    form: str | None = None,
    said: Mapping[str, Any] | None = None,
    until: str = "maps",
    storage: str | Path | None = None,
    workers: int | None = None,
    local: bool = True,
    max_failures: int = 0,
    wandb: str | None = None,
) -> PlannedRun:
    """What `import_maps` does before it starts; `said` are supervision, normalise, gate and stretch."""
    from wsss_platform.api.experiments import apart, build_data
    from wsss_platform.api.runs import last_stage
    from wsss_platform.exchange.foreign_maps import foreign_maps
    from wsss_platform.store.artefacts import Store, check_name

    if until not in ("maps", "masks", "score"):
        raise unknown("stage (--until)", until, ["maps", "masks", "score"])
    check(RunOptions, {"workers": workers, "max_failures": max_failures})
    run_name, given = check_name(name), dict(said or {})
    given["supervision"] = _stated(given.get("supervision", ()))
    config_changes, data_changes = apart(settings or {})
    place = Path(folder)
    found = foreign_maps(place, form, build_data(data_of(data), data_changes), given, config_changes, max_failures)
    experiment, taken = found
    log.info("%s: maps of the form %s%s", folder, taken, "" if form else ", by what its files hold")
    store = Store(storage_folder(storage), max_failures)
    return PlannedRun(
        experiment, store, run_name, last_stage(experiment, until), local, None, workers, wandb_mode(wandb), "unknown"
    )


def plan_import_masks(
    folder: str | Path,
    name: str,
    data: Data | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    ids: str | None = None,
    supervision: Stated = (),
    until: str = "masks",
    storage: str | Path | None = None,
    workers: int | None = None,
    local: bool = True,
    max_failures: int = 0,
    wandb: str | None = None,
    progress: bool = True,
) -> PlannedRun:
    """What `import_masks` does before it starts; the masks are read once for it."""
    from wsss_platform.api.experiments import apart, build_data
    from wsss_platform.api.runs import last_stage
    from wsss_platform.exchange.foreign_masks import foreign_masks
    from wsss_platform.report.progress import status
    from wsss_platform.store.artefacts import Store, check_name

    if until not in ("masks", "score"):
        raise unknown("stage (--until)", until, ["masks", "score"])
    check(RunOptions, {"workers": workers, "max_failures": max_failures})
    run_name, stated = check_name(name), _stated(supervision)
    changes, data_changes = apart(settings or {})
    if changes:
        path = next(iter(changes))
        raise InputError(f"--set {path}: masks are imported as they are; only data.* can be set", field=path)
    built = build_data(data_of(data), data_changes)
    with status("reading masks", progress) as update:
        experiment = foreign_masks(
            Path(folder), ids, built, stated, max_failures, lambda done: update(f"{done} masks read")
        )
    store = Store(storage_folder(storage), max_failures)
    return PlannedRun(
        experiment, store, run_name, last_stage(experiment, until), local, None, workers, wandb_mode(wandb), "unknown"
    )


def _stated(supervision: Stated) -> tuple[Knowledge, ...]:
    """The knowledge, in one order."""
    given = [supervision] if isinstance(supervision, str) else supervision
    return in_order(each if isinstance(each, Knowledge) else knowledge(each) for each in given)


_REMARKS = {
    "resampled": "maps of another size than their image, resampled",
    "dropped": "classes left out that their labels do not name (--gate none takes them)",
    "lacking": "no map of a class that their labels name",
    "outside": "masks with a class that their labels do not name, taken as they are",
}


def imported(planned: PlannedRun, progress: bool = True) -> Run:
    """Make the run of what is imported, and name the images in which something was changed or is remarkable."""
    from wsss_platform.report.progress import shown_log
    from wsss_platform.run.imported import REMARKS, remarks_of

    run = planned.run(progress)
    source = run.experiment.source
    remarks = remarks_of(run.store.open(source.kind, source.key).folder)
    with shown_log(progress):
        for kind, images in remarks.items():
            if images:
                listed = ", ".join(list(images)[:8]) + (f" and {len(images) - 8} more" if len(images) > 8 else "")
                log.info("%d images: %s: %s; all in %s", len(images), _REMARKS[kind], listed, REMARKS)
    return run


def import_maps(
    folder: str | Path,
    name: str,
    data: Data | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    form: str | None = None,
    supervision: Stated = (),
    normalise: str = "none",
    gate: str = "labels",
    stretch: bool = False,
    until: str = "maps",
    storage: str | Path | None = None,
    max_failures: int = 0,
    wandb: str | None = None,
    progress: bool = True,
) -> Run:
    """Take another codebase's maps as a run; `masks`, `score`, `show` and the leaderboard work on it.

    Args:
        folder: of maps, files named by image id.
        name: of the run to make.
        data: its scored split says which images.
        settings: of the masks, by dotted path.
        form: "irn", "seam", "clip-es", "puzzlecam", "png" or "npz"; None: by what the first file holds.
        supervision: the knowledge that went into the maps, such as ["image-labels", "image-text-pairs:CLIP ViT-B/16"];
            the protocol says it. Empty: unknown.
        normalise: "none" (scores are 0..1), "max" or "minmax", per class over the image.
        gate: "labels" takes the classes of the image-level labels, "none" all.
        stretch: take maps of other proportions than their image's.
        until: last stage: "maps", "masks" or "score".
        storage: folder of stages and runs.
        max_failures: images that may have no map.
        wandb: mode of tracking.
        progress: bars and notes on standard error.

    Returns:
        The run.

    Raises:
        InputError: an unknown form, a folder without maps of the split, or a file that cannot be read, by name.
    """
    from wsss_platform.report.progress import shown_log

    said = {"supervision": supervision, "normalise": normalise, "gate": gate, "stretch": stretch}
    with shown_log(progress):
        planned = plan_import(
            folder,
            name,
            data,
            settings,
            form=form,
            said=said,
            until=until,
            storage=storage,
            max_failures=max_failures,
            wandb=wandb,
        )
    return imported(planned, progress)


def import_masks(
    folder: str | Path,
    name: str,
    data: Data | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    ids: str | None = None,
    supervision: Stated = (),
    until: str = "masks",
    storage: str | Path | None = None,
    max_failures: int = 0,
    wandb: str | None = None,
    progress: bool = True,
) -> Run:
    """Take masks that anybody made as a run that begins with them; `score`, `show`, the leaderboard and `export` work.

    Args:
        folder: of ID.png: grey or palette PNGs of labels, or RGB in VOC's colours; 255 is undecided.
        name: of the run to make.
        data: its scored split says which images.
        settings: of the data, by dotted path.
        ids: what the numbers of COCO's masks are, "coco-80" (1..80, by place) or "coco-91" (COCO's own 1..90); None:
            the one that fits.
        supervision: the knowledge that went into the masks: texts KIND, KIND:MODEL or KIND:MODEL@HASH, such as
            ["image-labels", "image-text-pairs:CLIP ViT-B/16"]. Empty: unknown.
        until: last stage: "masks" or "score".
        storage: folder of stages and runs.
        max_failures: images that may have no readable mask.
        wandb: mode of tracking.
        progress: bars and notes on standard error.

    Returns:
        The run.

    Raises:
        InputError: an image without a mask, a file that cannot be read, is of another size than its image or has a
            number that means nothing, by name; or numbers that fit both of COCO's.
    """
    planned = plan_import_masks(
        folder,
        name,
        data,
        settings,
        ids=ids,
        supervision=supervision,
        until=until,
        storage=storage,
        max_failures=max_failures,
        wandb=wandb,
        progress=progress,
    )
    return imported(planned, progress)
