"""Checkpoints of the field's released code, and the names their tensors have here (docs/import_weights.md)."""

from __future__ import annotations

from wsss_platform.errors import unknown
from wsss_platform.nets.released import drs, fbr, rtc, wide_resnet38
from wsss_platform.nets.released.names import Release


def releases() -> tuple[Release, ...]:
    """Every kind that is known."""
    return (*drs.RELEASES, *fbr.RELEASES, *rtc.RELEASES, *wide_resnet38.RELEASES)


def get(name: str) -> Release:
    """A kind by its name; InputError with the nearest right one."""
    found = {release.name: release for release in releases()}
    if name not in found:
        raise unknown("kind of checkpoint (--as)", name, found, "--as")
    return found[name]
