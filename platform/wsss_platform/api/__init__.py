"""What can be done with wsss-platform from Python. The command line is its first user.

    import wsss_platform.api as wsss

    data = wsss.sample(train=160, val=64)       # or wsss.voc12(FOLDER), wsss.coco2014(FOLDER), wsss.open_data(FOLDER)
    run = wsss.train("cam", data, until="score")
    run.score.miou                              # percent
    run.mask("2007_000032", background=0.3)     # no retraining
    study = wsss.tune("fbr", data, trials=20)
    wsss.compare({"cam": "cam", "ours": ("fbr", {"loss.negative_regions": 0.1})}, data, seeds=3)

Nothing here writes to standard output; progress goes to standard error, unless `progress=False`. Every call leaves the
records that the command leaves. Importing this loads neither torch nor ray: a function loads what it needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsss_platform.api._compare import compare
    from wsss_platform.api._comparison import Comparison
    from wsss_platform.api._data import Data, coco2014, open_data, sample, voc12
    from wsss_platform.api._datasets import convert_coco, convert_labels, write_sample
    from wsss_platform.api._exchange import export, import_weights
    from wsss_platform.api._imports import import_maps, import_masks
    from wsss_platform.api._leaderboard import Leaderboard, leaderboard
    from wsss_platform.api._run import Run, open_run
    from wsss_platform.api._search import search
    from wsss_platform.api._stages import maps, masks, score, score_difference, score_rule
    from wsss_platform.api._submit import Submission, open_submission, submit
    from wsss_platform.api._train import train
    from wsss_platform.api._tune import Study, Trial, tune

_WHERE = {
    "sample": "_data",
    "voc12": "_data",
    "coco2014": "_data",
    "open_data": "_data",
    "convert_coco": "_datasets",
    "convert_labels": "_datasets",
    "write_sample": "_datasets",
    "train": "_train",
    "maps": "_stages",
    "masks": "_stages",
    "score": "_stages",
    "score_rule": "_stages",
    "score_difference": "_stages",
    "tune": "_tune",
    "search": "_search",
    "compare": "_compare",
    "submit": "_submit",
    "open_submission": "_submit",
    "open_run": "_run",
    "leaderboard": "_leaderboard",
    "import_maps": "_imports",
    "import_masks": "_imports",
    "import_weights": "_exchange",
    "export": "_exchange",
    "Comparison": "_comparison",
    "Data": "_data",
    "Leaderboard": "_leaderboard",
    "Run": "_run",
    "Study": "_tune",
    "Submission": "_submit",
    "Trial": "_tune",
}
"""Name -> the private module that defines it, a table of contents."""

__all__ = [
    "Comparison",
    "Data",
    "Leaderboard",
    "Run",
    "Study",
    "Submission",
    "Trial",
    "coco2014",
    "compare",
    "convert_coco",
    "convert_labels",
    "export",
    "import_maps",
    "import_masks",
    "import_weights",
    "leaderboard",
    "maps",
    "masks",
    "open_data",
    "open_run",
    "open_submission",
    "sample",
    "score",
    "score_difference",
    "score_rule",
    "search",
    "submit",
    "train",
    "tune",
    "voc12",
    "write_sample",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
