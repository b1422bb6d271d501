"""`score`: a run against ground truth; against another run; or under a background rule solved on its counts."""

from __future__ import annotations

from dataclasses import dataclass

from wsss_platform.api._stages import plan_stage, score_difference, score_rule
from wsss_platform.api.experiments import fields_of
from wsss_platform.cli.options import RunName, settings, verb
from wsss_platform.cli.output import Output
from wsss_platform.cli.planned import carried_out
from wsss_platform.config.options import option
from wsss_platform.config.verb_options import ConfiguredStageOptions
from wsss_platform.errors import InputError
from wsss_platform.report.tables.run import difference_result, rule_result


@dataclass(frozen=True)
class ScoreOptions(ConfiguredStageOptions):
    """Of `score`."""

    against: str | None = option(
        None, "Compare it with a second run, with a paired bootstrap interval.", "Method", metavar="RUN"
    )
    rule: str | None = option(
        None,
        "Solve a background rule on the stored counts: constant, power, per-class or saliency.",
        "Method",
        metavar="RULE",
    )
    fitted_on: str | None = option(
        None, "With --rule: let this split choose. Default: the scored one.", "Method", metavar="NAME"
    )
    subsets: list[str] | None = option(
        None,
        "Count only these images, under --rule (default: constant), such as class=cat, object=small, object=0.05..0.25 "
        "(share), image=0..150000 (pixels), all; repeatable.",
        "Method",
        flag="--subset",
        metavar="SUBSET",
    )
    wandb: str = option(
        "auto",
        "Track with W&B: auto (online when logged in), online, offline or disabled.",
        "Output",
        envvar="WSSS_WANDB",
        metavar="MODE",
    )


@verb("score", ScoreOptions)
def score(run: RunName, *, options: ScoreOptions, out: Output) -> None:
    """Score a run's maps at every threshold and its masks, against ground truth."""
    by_rule = options.rule is not None or options.fitted_on is not None or options.subsets
    if by_rule and (options.against is not None or options.dry_run):
        raise InputError("--rule, --fitted-on and --subset go with neither --against nor --dry-run")
    if by_rule:
        found = score_rule(
            run,
            options.rule,
            storage=options.storage,
            subsets=options.subsets or (),
            fitted_on=options.fitted_on,
            split=options.split,
            settings={**fields_of(options.config), **settings(options.changes)},
            local=options.local,
        )
        out.result(found, *rule_result(found))
    elif options.against is not None:
        difference = score_difference(run, options.against, storage=options.storage)
        out.result(difference, *difference_result(difference))
    else:
        planned = plan_stage("score", run, settings(options.changes), wandb=options.wandb, **options.planned)
        carried_out(planned, options.dry_run, out)
