"""`wsss-platform import-weights`: released checkpoints of the field under the names of this platform."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsss_platform.api import experiments
from wsss_platform.cli import options
from wsss_platform.cli.output import note, output
from wsss_platform.errors import InputError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from wsss_platform.nets.documents import ImportedWeights
    from wsss_platform.nets.released.names import Converted, Release

PRESET = "paper"
"""The preset of a method that has the released network."""


def import_weights(
    source: Annotated[Path, typer.Argument(help="A file of torch.save, or WideResNet-38's .params of mxnet.")],
    kind: Annotated[
        str,
        typer.Option(
            "--as",
            help="drs-classify, drs-refine, fbr-amn, fbr-s, rtc, resnet38-mxnet or resnet38-backbone.",
            metavar="KIND",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write.", metavar="FILE")],
    classes: Annotated[int, typer.Option("--classes", help="Foreground classes of a whole network.", min=1)] = 20,
    changes: options.Set = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Write although names are missing, unexpected or misshapen.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Turn a released checkpoint into this platform's weights, naming every tensor that does not fit.

    A backbone's file is for `backbone.weights`; a whole network's is what a finished training leaves. What is missing
    keeps its initial value. Without --allow-missing any difference is an error, and nothing is written.
    """
    with output(as_json) as to:
        from wsss_platform.nets import released
        from wsss_platform.nets.backbones.backbone import read_state
        from wsss_platform.nets.released.mxnet_params import read_params
        from wsss_platform.nets.released.names import convert
        from wsss_platform.report.tables.weights import weights_lines
        from wsss_platform.train.checkpoint import write_torch

        release = released.get(kind)
        state = read_params(source) if release.mxnet else read_state(source, "import-weights")
        result = convert(state, release, _network(release, classes, changes))
        fatal = bool(result.contradicting or not result.found)
        refused = fatal or (bool(result.problems) and not allow_missing)
        document = _document(release, source, result, None if refused else str(out))
        to.result(document, *weights_lines(document))
        if refused:
            counts = ", ".join(f"{len(names)} {what}" for what, names in result.problems.items())
            hint = "" if fatal else "; --allow-missing writes it all the same"
            raise InputError(f"{source} is not a whole {kind}: {counts}{hint}. Nothing was written")
        if release.backbone:
            write_torch(out, result.tensors)
        else:
            whole = {"phase": release.phase, "method": release.method, "selection": release.selection}
            write_torch(out, {"model": result.tensors, **whole})
        note(f"{len(result.found)} tensors written to {out}")


def _network(release: Release, classes: int, changes: list[str] | None) -> dict[str, Tensor]:
    """Our network's state dict with its initial values."""
    import torch

    from wsss_platform.config import BackboneConfig, flatten, override, read_toml
    from wsss_platform.nets.build import build_backbone

    torch.manual_seed(0)  # the same file for the same command
    config_changes, data_changes = experiments.assignments(changes)
    if data_changes or (release.backbone and config_changes):
        path = next(iter(config_changes or [f"data.{name}" for name in data_changes]))
        raise InputError(f"--set {path}: --as {release.name} takes no such field")
    if release.backbone:
        config = BackboneConfig.model_validate({"name": release.backbone, "weights": "none", "output_stride": 8})
        return dict(build_backbone(config).state_dict())
    method = experiments.find_method(release.method)
    preset = flatten(read_toml(method.presets()[PRESET]))
    settings = override(override(method.config(), preset, f"preset {PRESET}"), config_changes, "--set")
    settings = override(settings, {"backbone.weights": "none"})
    phases = {phase.name: phase for phase in method.phases(settings)}
    if release.phase not in phases:
        raise unknown(f"phase of {method.name} with these settings", release.phase, phases)
    return dict(phases[release.phase].build(settings, classes).state_dict())


def _document(release: Release, source: Path, result: Converted, out: str | None) -> ImportedWeights:
    from wsss_platform.nets.documents import ImportedWeights

    return ImportedWeights(
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
        out=out,
    )
