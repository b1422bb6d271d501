"""`import-weights`: released checkpoints of the field under the names of this platform."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from wsss_platform.api._exchange import read_weights
from wsss_platform.cli.options import settings, verb
from wsss_platform.cli.output import Output, note
from wsss_platform.config.options import option
from wsss_platform.config.verb_options import JsonOptions
from wsss_platform.errors import InputError
from wsss_platform.report.tables.weights import weights_lines

Source = Annotated[Path, typer.Argument(help="A file of torch.save, or WideResNet-38's .params of mxnet.")]
Kind = Annotated[
    str,
    typer.Option(
        "--as",
        help="Read it as drs-classify, drs-refine, fbr-amn, fbr-s, rtc, resnet38-mxnet or resnet38-backbone.",
        metavar="KIND",
        show_default=False,
    ),
]
Target = Annotated[Path, typer.Option("--out", help="Write this file.", metavar="FILE", show_default=False)]


@dataclass(frozen=True)
class WeightsOptions(JsonOptions):
    """Of `import-weights`."""

    classes: int = option(20, "Expect this many foreground classes of a whole network.", "Method", low=1)
    changes: list[str] | None = option(
        None, "Override one setting of the method; repeatable.", "Method", flag="--set", metavar="SETTING=VALUE"
    )
    allow_missing: bool = option(False, "Write although names are missing, unexpected or misshapen.", "Output")


@verb("import-weights", WeightsOptions)
def import_weights(source: Source, kind: Kind, target: Target, *, options: WeightsOptions, out: Output) -> None:
    """Turn a released checkpoint into this platform's weights, naming every tensor that does not fit.

    A backbone's file is for `backbone.weights`; a whole network's is what a finished training leaves. What is missing
    keeps its initial value. Without --allow-missing any difference is an error, and nothing is written.
    """
    found = read_weights(
        source,
        kind,
        target,
        classes=options.classes,
        settings=settings(options.changes),
        allow_missing=options.allow_missing,
    )
    if found.refused is None:
        found.write(target)
    out.result(found.document, *weights_lines(found.document))
    if found.refused is not None:
        raise InputError(found.refused, field=str(source))
    note(f"{found.document.found} tensors written to {target}")
