"""Which ground truth a search may see: a stated part of its protocol.

    held-out:K   that of K images per class of the training list; the result is told on the others
    train        that of the training list
    val          that of the list that is scored, on which nothing is trained

The result (fixed, selected, oracle) is told on the scored list; where that is the training list and some of it is held
out, on the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from wsss_platform.config import DataConfig
from wsss_platform.data.part import part_name
from wsss_platform.errors import InputError, unknown
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.protocol import Selection

KINDS = ("held-out:K", "train", "val")


@dataclass(frozen=True)
class SelectionRule:
    """What may choose."""

    kind: Literal["held-out", "train", "val"]
    per_class: int = 0
    """Of held-out."""

    @property
    def stamp(self) -> Selection:
        """As written into the protocol."""
        return f"held-out:{self.per_class} ground truth" if self.kind == "held-out" else f"{self.kind} ground truth"

    def searched(self, data: DataConfig) -> str:
        """The list on which trials are judged.

        Raises:
            InputError: "val" where the scored list is the one that is trained on.
        """
        if self.kind == "held-out":
            return part_name(data.train_list, "held-out", self.per_class)
        if self.kind == "train":
            return data.train_list
        if data.score_list == data.train_list:
            raise InputError(
                f"--selection val: the scored list is the training list {data.train_list!r}; "
                "name another one with --score-list",
                field="--selection",
            )
        return data.score_list

    def reported(self, data: DataConfig) -> str:
        """The list on which the result is told."""
        if self.kind == "held-out" and data.score_list == data.train_list:
            return part_name(data.train_list, "rest", self.per_class)
        return data.score_list


def read_rule(text: str | None, data: DataConfig) -> SelectionRule:
    """A rule from `--selection`; without one, "train" where the training list is scored and "val" otherwise.

    Raises:
        InputError: no such rule, "none", or held-out without a number of at least 1.
    """
    if text is None:
        return SelectionRule("train" if data.score_list == data.train_list else "val")
    match text:
        case "train" | "val":
            return SelectionRule(text)
    found = re.fullmatch(r"held-out:([1-9]\d{0,5})", text)
    if found:
        return SelectionRule("held-out", int(found[1]))
    if text.startswith("held-out"):
        raise InputError(
            f"selection (--selection) {text!r}: expected held-out:K with K images per class, such as held-out:3",
            field="--selection",
        )
    if text == "none":
        raise InputError(
            "selection (--selection) 'none': no search without ground truth; "
            "held-out:K sees that of K images per class, such as held-out:3",
            field="--selection",
        )
    raise unknown("selection (--selection)", text, KINDS, "--selection")


def judged_by(rule: SelectionRule, experiment: Experiment) -> Experiment:
    """The experiment with the list as its scored one on which a rule judges trials."""
    data = experiment.data.model_copy(update={"score_list": rule.searched(experiment.data)})
    return replace(experiment, data=data)
