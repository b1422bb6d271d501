"""Which ground truth a search may see: a stated part of its protocol.

    half         that of one half of the scored split; the result is reported on the other half
    held-out:K   that of K images per class of the training split; the result is reported on the scored split
    train        that of the training split; the result is reported on the scored split
    val          that of the scored split, on which nothing is trained; the result is reported on it, too

With held-out:K where the training split is scored, the result is reported on the images that are not held out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from wsss_platform.config import DataConfig
from wsss_platform.data.part import base_of, part_name
from wsss_platform.errors import InputError, unknown
from wsss_platform.plan.experiment import Experiment
from wsss_platform.plan.protocol import Selection

KINDS = ("half", "held-out:K", "train", "val")


@dataclass(frozen=True)
class SelectionRule:
    """What may choose."""

    kind: Literal["half", "held-out", "train", "val"]
    per_class: int = 0
    """Of held-out."""
    halved: Literal["train", "val"] = "train"
    """Of half: whether the scored split is the one that is trained on."""

    @property
    def stamp(self) -> Selection:
        """As written into the protocol."""
        if self.kind == "half":
            return f"half of {self.halved} ground truth"
        return f"held-out:{self.per_class} ground truth" if self.kind == "held-out" else f"{self.kind} ground truth"

    def searched(self, data: DataConfig) -> str:
        """The split on which trials are scored.

        Raises:
            InputError: "val" where the scored split is the one that is trained on.
        """
        if self.kind == "half":
            return part_name(data.score_list, "half", 1)
        if self.kind == "held-out":
            return part_name(data.train_list, "held-out", self.per_class)
        if self.kind == "train":
            return data.train_list
        if data.score_list == data.train_list:
            raise InputError(
                f"--selection val: the scored split is the training split {data.train_list!r}; "
                "name another one with --score-split",
                field="--selection",
            )
        return data.score_list

    def reported(self, data: DataConfig) -> str:
        """The split on which the result is reported."""
        if self.kind == "half":
            return part_name(data.score_list, "half", 2)
        if self.kind == "held-out" and data.score_list == data.train_list:
            return part_name(data.train_list, "rest", self.per_class)
        return data.score_list

    def asked(self, reported: str, data: DataConfig) -> str:
        """The split that a person asked to score, of which `reported` may be a part."""
        rest = self.kind == "held-out" and reported == part_name(data.train_list, "rest", self.per_class)
        return base_of(reported) if self.kind == "half" or rest else reported


def read_rule(text: str | None, data: DataConfig) -> SelectionRule:
    """A rule from `--selection`; without one, "half".

    Raises:
        InputError: no such rule, "none", or held-out without a number of at least 1.
    """
    match text:
        case None | "half":
            return SelectionRule("half", halved="train" if data.score_list == data.train_list else "val")
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
    """The experiment whose scored split is the one on which a rule scores trials."""
    data = experiment.data.model_copy(update={"score_list": rule.searched(experiment.data)})
    return replace(experiment, data=data)
