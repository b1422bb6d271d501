"""`maps`: class activation maps of a run."""

from __future__ import annotations

from wsss_platform.api._stages import plan_stage
from wsss_platform.cli.options import RunName, settings, verb
from wsss_platform.cli.output import Output
from wsss_platform.cli.planned import carried_out
from wsss_platform.config.verb_options import StageOptions


@verb("maps", StageOptions)
def maps(run: RunName, *, options: StageOptions, out: Output) -> None:
    """Turn a run's weights into class activation maps of a split."""
    carried_out(plan_stage("maps", run, settings(options.changes), **options.planned), options.dry_run, out)
