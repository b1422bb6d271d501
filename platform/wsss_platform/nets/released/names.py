"""Name maps: from the tensors of a released checkpoint to those of a network here, with every difference listed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

Rule = tuple[str, str | None]
"""(pattern of a whole released name, our name with its groups as \\1, \\2), or None for a tensor that is left out on
purpose. The first rule that fits counts."""


@dataclass(frozen=True)
class Release:
    """A kind of released checkpoint."""

    name: str
    """As typed: `--as NAME`."""
    title: str
    """One line for the list of kinds."""
    source: str
    """The public code whose names these are."""
    rules: tuple[Rule, ...]
    backbone: str = ""
    """The backbone that it becomes, for `backbone.weights`; "" for a whole network."""
    method: str = ""
    """The method whose network it becomes; with that method's preset "paper"."""
    phase: str = ""
    """The phase of that method."""
    fresh: tuple[str, ...] = ()
    """Prefixes of our tensors that the release does not store: they keep their initial values."""
    selection: str = "none"
    """The ground truth on which the release chose its epoch, as a protocol's selection."""
    mxnet: bool = False
    """Whether it is an mxnet .params file, not one of torch.save."""


@dataclass
class Converted:
    """What became of a checkpoint. Names are sorted."""

    tensors: dict[str, Tensor]
    """All of our network's, those not found at their initial values."""
    found: list[str] = field(default_factory=list)
    """Ours that the checkpoint gave."""
    fresh: list[str] = field(default_factory=list)
    """Ours that the release does not store."""
    left_out: list[str] = field(default_factory=list)
    """Theirs that are not used here, on purpose."""
    missing: list[str] = field(default_factory=list)
    """Ours that should have been there."""
    unexpected: list[str] = field(default_factory=list)
    """Theirs that no rule knows, or whose name here the network does not have."""
    shapes: list[str] = field(default_factory=list)
    """"name (their shape) instead of (our shape)"."""
    contradicting: list[str] = field(default_factory=list)
    """Ours for which the checkpoint has two names with different values."""

    @property
    def problems(self) -> dict[str, list[str]]:
        """The lists that should be empty, by what they are called."""
        lists = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape": self.shapes,
            "stored twice with different values": self.contradicting,
        }
        return {what: names for what, names in lists.items() if names}


def convert(state: Mapping[str, Tensor], release: Release, network: Mapping[str, Tensor]) -> Converted:
    """A checkpoint's tensors under our names.

    A released state dict may hold a tensor under several names (a layer that two modules share); they must agree.

    Args:
        state: the checkpoint, released name -> tensor.
        release: whose names these are.
        network: our network's state dict with its initial values.
    """
    given: dict[str, Tensor] = {}
    result = Converted(tensors=dict(network))
    contradicting: set[str] = set()
    misshapen: dict[str, str] = {}
    for name, value in sorted(state.items()):
        known, ours = translate(name, release.rules)
        if known and ours is None:
            result.left_out.append(name)
        elif ours is None or ours not in network:
            result.unexpected.append(name if ours is None else f"{name} (here {ours})")
        elif value.shape != network[ours].shape:
            misshapen[ours] = f"{ours} {tuple(value.shape)} instead of {tuple(network[ours].shape)}"
        elif ours in given and not torch.equal(given[ours], value):
            contradicting.add(ours)
        else:
            given[ours] = value
    for name, value in network.items():
        if name in given:
            result.found.append(name)
            result.tensors[name] = given[name].to(value.dtype)
        elif name.startswith(release.fresh) or name.endswith("num_batches_tracked"):
            result.fresh.append(name)  # old files have no such counters, and nothing here uses them
        elif name not in misshapen:
            result.missing.append(name)
    result.contradicting, result.shapes = sorted(contradicting), sorted(misshapen.values())
    for names in (result.found, result.fresh, result.missing):
        names.sort()
    return result


def translate(name: str, rules: tuple[Rule, ...]) -> tuple[bool, str | None]:
    """(whether a rule knows the released name, ours or None where it is left out)."""
    for pattern, ours in rules:
        match = re.fullmatch(pattern, name)
        if match:
            return True, None if ours is None else match.expand(ours)
    return False, None
