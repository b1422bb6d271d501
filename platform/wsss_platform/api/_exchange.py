"""Weights of other code in, pseudo masks out."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_platform.api._run import Run, run_of
from wsss_platform.errors import InputError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from wsss_platform.nets.documents import ImportedWeights
    from wsss_platform.nets.released.names import Release
    from wsss_platform.run.documents import Export

PRESET = "paper"
"""The preset of a method that has the released network."""


@dataclass(frozen=True)
class ReadWeights:
    """A released checkpoint under this platform's names."""

    release: Release
    converted: Any
    document: ImportedWeights
    refused: str | None
    """Why it is not written; None where it may be."""

    def write(self, out: Path) -> None:
        """Write the file that `weights` and `backbone.weights` take; InputError where it is refused."""
        from wsss_platform.train.checkpoint import write_torch

        if self.refused:
            raise InputError(self.refused)
        if self.release.backbone:
            write_torch(out, self.converted.tensors)
            return
        whole = {"phase": self.release.phase, "method": self.release.method, "selection": self.release.selection}
        write_torch(out, {"model": self.converted.tensors, **whole})


def read_weights(
    source: Path, kind: str, out: Path, *, classes: int, settings: Mapping[str, Any], allow_missing: bool
) -> ReadWeights:
    """Read a released checkpoint and hold it against our network, name by name."""
    from wsss_platform.nets import released
    from wsss_platform.nets.backbones.backbone import read_state
    from wsss_platform.nets.documents import ImportedWeights
    from wsss_platform.nets.released.mxnet_params import read_params
    from wsss_platform.nets.released.names import convert

    release = released.get(kind)
    state = read_params(source) if release.mxnet else read_state(source, "import-weights")
    result = convert(state, release, _network(release, classes, settings))
    fatal, reason = bool(result.contradicting or not result.found), None
    if fatal or (result.problems and not allow_missing):
        counts = ", ".join(f"{len(names)} {what}" for what, names in result.problems.items())
        hint = "" if fatal else "; --allow-missing writes it all the same"
        reason = f"{source} is not a whole {kind}: {counts}{hint}. Nothing was written"
    document = ImportedWeights(
        source=str(source),
        kind=release.name,
        names=release.source,
        found=len(result.found),
        left_out=tuple(result.left_out),
        initial=tuple(result.fresh),
        missing=tuple(result.missing),
        unexpected=tuple(result.unexpected),
        shapes=tuple(result.shapes),
        contradicting=tuple(result.contradicting),
        out=None if reason else str(out),
    )
    return ReadWeights(release, result, document, reason)


def _network(release: Release, classes: int, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """Our network's state dict with its initial values."""
    import torch

    from wsss_platform.api.experiments import apart, find_method
    from wsss_platform.config import BackboneConfig, flatten, override, read_toml
    from wsss_platform.nets.build import build_backbone

    torch.manual_seed(0)  # the same file for the same command
    changes, data_changes = apart(settings)
    if data_changes or (release.backbone and changes):
        path = next(iter(changes or [f"data.{name}" for name in data_changes]))
        raise InputError(f"--set {path}: --as {release.name} takes no such field", field=path)
    if release.backbone:
        config = BackboneConfig.model_validate({"name": release.backbone, "weights": "none", "output_stride": 8})
        return dict(build_backbone(config).state_dict())
    method = find_method(release.method)
    preset = flatten(read_toml(method.presets()[PRESET]))
    chosen = override(override(method.config(), preset, f"preset {PRESET}"), changes, "--set")
    chosen = override(chosen, {"backbone.weights": "none"})
    phases = {phase.name: phase for phase in method.phases(chosen)}
    if release.phase not in phases:
        raise unknown(f"phase of {method.name} with these settings", release.phase, phases)
    return dict(phases[release.phase].build(chosen, classes).state_dict())


def import_weights(
    source: str | Path,
    kind: str,
    out: str | Path,
    *,
    classes: int = 20,
    settings: Mapping[str, Any] | None = None,
    allow_missing: bool = False,
) -> ImportedWeights:
    """Turn a released checkpoint of the field into this platform's weights, naming every tensor that does not fit.

    Args:
        source: a file of torch.save, or WideResNet-38's .params of mxnet; nothing in it is executed.
        kind: "drs-classify", "drs-refine", "fbr-amn", "fbr-s", "rtc", "resnet38-mxnet" or "resnet38-backbone".
        out: file to write. A backbone's is for the setting `backbone.weights`, a whole network's for `weights`.
        classes: foreground classes of a whole network.
        settings: of the method, by dotted path.
        allow_missing: write although names are missing, unexpected or misshapen.

    Returns:
        What was found, left out, missing and unexpected.

    Raises:
        InputError: an unknown kind, a file that is no checkpoint, or one that does not fit. Nothing is written then.
    """
    found = read_weights(
        Path(source), kind, Path(out), classes=classes, settings=settings or {}, allow_missing=allow_missing
    )
    found.write(Path(out))
    return found.document


def layout_of(name: str | None) -> Any:
    """A form of exported masks, "voc" where none is named; InputError with the nearest name."""
    from wsss_platform.exchange.folder import Layout

    layouts: tuple[Any, ...] = typing.get_args(Layout)
    if name is not None and name not in layouts:
        raise unknown("form of masks (--format)", name, layouts)
    return name or "voc"


def export(
    run: Run | str,
    folder: str | Path,
    *,
    layout: str = "voc",
    storage: str | Path | None = None,
    progress: bool = True,
) -> Export:
    """Write a run's pseudo masks into a folder that other code reads.

    Args:
        run: a run whose masks are made, or its name.
        folder: to write to.
        layout: "voc" (palette PNG and a list of ids) or "coco" (a results file).
        storage: of a run that is given by name.
        progress: a spinner on standard error.

    Returns:
        Number of images, and the ids of those without a mask.

    Raises:
        InputError: no such run, no masks, or an unknown layout.
    """
    from wsss_platform.api.runs import load_run
    from wsss_platform.exchange.folder import export_masks
    from wsss_platform.report.progress import status
    from wsss_platform.run.documents import Export
    from wsss_platform.run.pipeline import failed
    from wsss_platform.store.artefacts import Store

    taken = layout_of(layout)
    name, place = run_of(run, storage)
    store = Store(place)
    experiment = run.experiment if isinstance(run, Run) else load_run(store, name)[0]
    stage = experiment.stage("masks")
    if not store.has("masks", stage.key):
        raise InputError(f"run {name!r} has no masks yet; make them with `wsss-platform masks {name}`", field=name)
    with status("writing masks", progress) as update:
        found = export_masks(
            experiment, store, Path(folder), taken, failed(store, stage), lambda done: update(f"{done} masks")
        )
    return Export(
        folder=str(found.folder),
        layout=taken,
        images=found.images,
        lacking=found.lacking,
        undecided_pixels=found.undecided,
        scored=found.scored,
    )
