"""The parts of `AffinityConfig` that need no other section: the walk and the loss weights."""

from __future__ import annotations

from pydantic import Field

from wsss_platform.config.section import Section


class WalkConfig(Section):
    """The random walk that spreads maps over affinities."""

    radius: int = Field(5, ge=2, le=16)
    """Neighbours are cells nearer than this: of 8 x 8 pixels for kind "psa", 4 x 4 for "irn". 5 for both [code]."""
    beta: float = Field(10.0, gt=0, le=64)
    """Exponent of the affinities. PSA and SEAM: 8; IRN: 10 (all [code])."""
    log2_steps: int = Field(8, ge=0, le=12)
    """The walk takes 2 to the power of this many steps: PSA's logt, IRN's exp_times. PSA and IRN: 8; SEAM, PPC, FBR
    and AEFT: 6 (all [code])."""
    alpha: float = Field(16.0, gt=0, le=128)
    """Kind "psa": (1 - max)^alpha is the background that walks with the classes. PSA: 16; SEAM: 6; AEFT: 19 (all
    [code])."""


class PsaLoss(Section):
    """Loss weights of AffinityNet."""

    background: float = Field(0.25, ge=0, le=10)
    """-log A over pairs of background. 1/4 [code]."""
    foreground: float = Field(0.25, ge=0, le=10)
    """-log A over pairs of one class. 1/4 [code]."""
    negative: float = Field(0.5, ge=0, le=10)
    """-log (1 - A) over pairs of different labels. 1/2 [code]."""


class IrnLoss(PsaLoss):
    """Loss weights of IRN: the same over the affinities that boundaries leave, and the displacement field's."""

    displacement_foreground: float = Field(0.5, ge=0, le=10)
    """Distance to the true offset over pairs of one class. 1/2 [code]. The semantic walk does not read the field."""
    displacement_background: float = Field(0.5, ge=0, le=10)
    """Distance of the displacements of two pixels of background. 1/2 [code]."""
