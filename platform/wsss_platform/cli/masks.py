"""`masks`: pseudo masks of a run, and with `--out` in a folder for other codebases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsss_platform.api._exchange import export, layout_of
from wsss_platform.api._stages import plan_stage
from wsss_platform.cli.options import RunName, settings, verb
from wsss_platform.cli.output import Output, print_shown
from wsss_platform.cli.planned import carried_out
from wsss_platform.config.options import option
from wsss_platform.config.verb_options import ConfiguredStageOptions
from wsss_platform.errors import InputError
from wsss_platform.report.tables.run import plan_table, run_result


@dataclass(frozen=True)
class MasksOptions(ConfiguredStageOptions):
    """Of `masks`."""

    layout: str | None = option(
        None, "With --out: voc (the default) or coco.", "Output", flag="--format", metavar="voc|coco"
    )
    folder: Path | None = option(
        None, "Also write them for other codebases into this folder.", "Output", flag="--out", metavar="DIR"
    )


@verb("masks", MasksOptions)
def masks(run: RunName, *, options: MasksOptions, out: Output) -> None:
    """Turn a run's maps into pseudo masks (VOC palette PNG)."""
    layout = layout_of(options.layout)
    if options.layout is not None and options.folder is None:
        raise InputError(f"--format {options.layout} needs --out DIR, the folder to write to", field="--out")
    planned = plan_stage("masks", run, settings(options.changes), **options.planned)
    if options.folder is None or options.dry_run:
        carried_out(planned, options.dry_run, out)
        return
    print_shown(plan_table(planned.document()))
    made = planned.run()
    result = made.result.model_copy(update={"export": export(made, options.folder, layout=layout)})
    out.result(result, *run_result(result))
