"""A leaderboard as a figure: the mean IoU of each row with its interval, each protocol by itself."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from wsss_platform.report.leaderboard import Group

_COLOUR = "#0072B2"


def intervals(groups: Sequence[Group]) -> Figure:
    """A panel for each protocol, a dot for each row in the order of its rank, a line for its 95 % interval."""
    heights = [len(group.rows) + 1.6 for group in groups]
    figure = Figure(figsize=(7.2, 0.4 + 0.26 * sum(heights)), dpi=120, layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axis, group in zip(panels, groups, strict=True):
        for place, row in enumerate(group.rows):
            if row.interval is not None:
                axis.plot([100 * end for end in row.interval], [place, place], color=_COLOUR, linewidth=2)
            axis.plot([100 * row.mean_iou], [place], "o", color=_COLOUR, markersize=5)
        names = [f"{row.runs[0]}{'' if len(row.seeds) == 1 else f', {len(row.seeds)} seeds'}" for row in group.rows]
        axis.set_yticks(range(len(names)), names)
        axis.invert_yaxis()
        axis.margins(y=0.5 / len(names))
        axis.set_title(
            f"protocol {group.key}: {group.protocol.data}, {group.protocol.score_list}", fontsize=9, loc="left"
        )
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8.5)
    panels[-1].set_xlabel("mean IoU of the masks with its 95 % interval, %", fontsize=9)
    return figure
