"""The page of all options, docs/options.md: `python -m wsss_platform.cli.options_page >docs/options.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wsss_platform.cli import compare, train
from wsss_platform.cli.data import CheckOptions, CocoOptions, SampleOptions
from wsss_platform.cli.import_maps import ImportOptions
from wsss_platform.cli.import_masks import ImportMasksOptions
from wsss_platform.cli.import_weights import WeightsOptions
from wsss_platform.cli.leaderboard import LeaderboardOptions
from wsss_platform.cli.masks import MasksOptions
from wsss_platform.cli.score import ScoreOptions
from wsss_platform.cli.show import ShowOptions
from wsss_platform.cli.store import ClearOptions, PushOptions, VerifyOptions
from wsss_platform.cli.submit import FetchOptions, LogsOptions, SubmitOptions
from wsss_platform.cli.tune import TuneOptions
from wsss_platform.config.options import PANELS, Leaf, leaves_of
from wsss_platform.config.verb_options import JsonOptions, OpenOptions, StageOptions, StoredOptions
from wsss_platform.report.table import Table, columns
from wsss_platform.search.masks.options import RunSearchOptions

VERBS: Mapping[str, type[Any]] = {
    "train": train.Options,
    "tune": TuneOptions,
    "search": RunSearchOptions,
    "compare": compare.Options,
    "maps": StageOptions,
    "masks": MasksOptions,
    "score": ScoreOptions,
    "show": ShowOptions,
    "import-maps": ImportOptions,
    "import-masks": ImportMasksOptions,
    "import-weights": WeightsOptions,
    "methods": JsonOptions,
    "leaderboard": LeaderboardOptions,
    "data splits": OpenOptions,
    "data check": CheckOptions,
    "data write-sample": SampleOptions,
    "data convert-coco": CocoOptions,
    "data convert-labels": JsonOptions,
    "store list": StoredOptions,
    "store verify": VerifyOptions,
    "store gc": ClearOptions,
    "store push": PushOptions,
    "store pull": StoredOptions,
    "submit": SubmitOptions,
    "submit list": JsonOptions,
    "submit status": JsonOptions,
    "submit logs": LogsOptions,
    "submit cancel": JsonOptions,
    "submit fetch": FetchOptions,
    "sites list": JsonOptions,
    "sites check": JsonOptions,
    "doctor": StoredOptions,
}
"""In the order of the page."""
_HEAD = """# Options

<!-- written by `python -m wsss_platform.cli.options_page >docs/options.md`; do not edit -->

Every option of every verb, by its name in a [recipe](recipes.md). On the command line it is written `--such-as-this`,
unless another spelling is given. Rare options work there, too, but `--help` does not show them. A keyword of a Python
function has the same name where the function has it.
"""


def page() -> str:
    """The page as Markdown."""
    return "\n".join([_HEAD, *(part for name, options in VERBS.items() for part in _section(name, options))])


def _section(name: str, options: type[Any]) -> Iterator[str]:
    yield f"## {name}\n"
    leaves = sorted(leaves_of(options), key=lambda leaf: PANELS.index(leaf.option.panel))
    rows = tuple(_row(leaf) for leaf in leaves)
    yield Table("", columns("option", "subject", "default", "meaning"), rows).to_markdown()


def _row(leaf: Leaf) -> tuple[str, ...]:
    said = leaf.option
    spelled = f" (`{said.flag}`)" if said.flag else ""
    rare = " Rare." if said.hidden else ""
    return f"`{leaf.name}`{spelled}", said.panel, _default(leaf), said.help + rare


def _default(leaf: Leaf) -> str:
    if leaf.default is None or leaf.default == "":
        return ""
    if leaf.kind is bool:
        return "no"
    return f"`{leaf.default}`" if isinstance(leaf.default, str | Path) else str(leaf.default)


if __name__ == "__main__":
    sys.stdout.write(page())
