"""Config of RCM+MAM. Defaults run on a laptop; presets/paper.toml is the nearest there is to the paper's network.

Only the paper's abstract was at hand and none of its code is public, so hardly a number here is the paper's. Marks:
[stated] in the abstract of arXiv 2112.05351; [related: NAME] in code that the same authors published for another
method (KAIST-vilab/AEFT, KAIST-vilab/OC-CSE, sangrockEG/ACR) or in a method it builds on; [unknown] the paper's value
is not known and the default is a proposal; [ours] chosen for this platform.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from wsss_platform.config import MapsConfig, MasksConfig, MethodConfig, Section, TrainConfig


class RcmMamLoss(Section):
    """Weights of the loss terms. A weight of 0 switches its part off: it is then neither built nor computed."""

    classification: float = Field(1.0, ge=0, le=10)
    """Multilabel soft margin (binary cross-entropy over all classes) of the mean class scores. 1 [unknown, as in
    related code]."""
    regional_contrast: float = Field(0.1, ge=0, le=10)
    """RCM: MainNet's features against SupportNet's class prototypes. 0.1 [unknown; PPC's weight of its contrast]."""
    attentive: float = Field(1.0, ge=0, le=10)
    """MAM: MainNet's maps against SupportNet's of several scales. 1 [unknown; SEAM's weight of its consistency]."""


class HeadsConfig(Section):
    """What stands on the last map, in both networks."""

    features: int = Field(256, ge=0, le=4096)
    """Channels of the 1x1 convolution with ReLU between the last map and the classifier; 0 is none. RCM contrasts
    its output. 256 [related: AEFT, ACR], 0 [related: OC-CSE]; this paper's is [unknown]."""
    projection: int = Field(0, ge=0, le=1024)
    """Channels of a linear projection of those features that RCM contrasts instead; 0 is none. 0 [unknown; PPC has
    128]."""


class SupportConfig(Section):
    """SupportNet: a copy of MainNet without gradient, whose maps and features supervise MainNet's."""

    update: Literal["ema", "frozen", "epoch_copy"] = "ema"
    """What it is after the warm-up: "ema", a moving average of MainNet's weights at each step; "frozen", the
    network that the warm-up trained (without a warm-up an untrained one); "epoch_copy", MainNet at the start of each
    epoch. "ema" [unknown; a log line left in AEFT's code speaks of "MVW", read as moving weights; OC-CSE's second
    network is frozen]."""
    ema: float = Field(0.99, ge=0, lt=1)
    """Update "ema": the part of itself that SupportNet keeps at each step. [unknown]; 1 - 1/(steps of an epoch) is a
    memory of about one epoch: 0.999 for 10,582 images by 8, 0.99 for 1,464 by 16."""
    warm_up: float = Field(3.0, ge=0, le=1000)
    """Epochs of classification alone; SupportNet starts as what they trained. 3 [unknown: before, the regions are
    noise]."""
    ramp: float = Field(1.0, ge=0, le=1000)
    """Epochs after the warm-up over which both terms grow linearly from 0 to their value. 1 [unknown]."""


class RegionsConfig(Section):
    """RCM: which positions belong to which region, by SupportNet's maps (0..1, divided by the class's maximum)."""

    foreground: float = Field(0.6, gt=0, le=1)
    """A position whose best class scores at least this belongs to that class. [unknown]: 0.30 is IRN's confident
    foreground with ResNet-50; 0.6 [ours] suits EfficientNet-Lite0's wider maps (see fbr's seed)."""
    background: float = Field(0.2, ge=0, le=1)
    """A position whose best class scores less than this is background; those between are in no region. [unknown]:
    0.05 is IRN's confident background with ResNet-50; 0.2 [ours] for EfficientNet-Lite0."""
    temperature: float = Field(0.1, ge=0.01, le=10)
    """Divides cosines. 0.1 [unknown; PPC's]."""
    background_prototype: bool = True
    """Whether the background has a prototype and its positions a loss. On [unknown]."""
    pool: Literal["batch", "image"] = "batch"
    """Prototypes over the whole batch (of all workers), or each image's own. "batch" [unknown; "class-wise" in the
    abstract fits both]."""

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.background > self.foreground:
            raise ValueError(f"background, {self.background:g}, must not exceed foreground, {self.foreground:g}")
        return self


class AttentionConfig(Section):
    """MAM: SupportNet's maps of several scales, and how MainNet's are drawn to them."""

    scales: tuple[float, ...] = Field((0.5, 1.0, 1.5), min_length=1, max_length=8)
    """Factors on the crop that SupportNet reads. 0.5, 1, 1.5 [unknown; related code infers at 0.5, 1, 1.5, 2]."""
    target: Literal["max", "mean"] = "max"
    """How its maps become one target. The maximum [unknown]: it reaches the parts that any scale shows."""
    main_scales: Literal["one", "all"] = "one"
    """MainNet's maps: of the crop itself, or the mean over `scales`, with gradient. "one" [unknown]; "all" costs
    MainNet's forward and backward pass at each scale."""
    one_sided: bool = False
    """Whether only positions where the target is larger count, so that maps can grow and not shrink. Off [unknown:
    the abstract says growth, not how]."""

    @model_validator(mode="after")
    def _scales(self) -> Self:
        if any(not 0.1 <= scale <= 4 for scale in self.scales) or len(set(self.scales)) < len(self.scales):
            raise ValueError(f"scales must be different factors in 0.1..4, got {list(self.scales)}")
        return self


class RcmMamConfig(MethodConfig):
    """RCM+MAM."""

    train: TrainConfig = TrainConfig()
    """The paper's optimiser, schedule and crops are [unknown]; presets/paper.toml has those of OC-CSE."""
    maps: MapsConfig = MapsConfig()
    """The scales at which the paper makes its maps are [unknown]; presets/paper.toml has those of OC-CSE."""
    masks: MasksConfig = MasksConfig()
    """What the paper does with its maps (threshold, CRF, affinity) is [unknown]."""
    heads: HeadsConfig = HeadsConfig()
    support: SupportConfig = SupportConfig()
    regions: RegionsConfig = RegionsConfig()
    attention: AttentionConfig = AttentionConfig()
    loss: RcmMamLoss = RcmMamLoss()

    @model_validator(mode="after")
    def _warm_up(self) -> Self:
        used = self.loss.regional_contrast > 0 or self.loss.attentive > 0
        if used and self.support.warm_up >= self.train.epochs:
            raise ValueError(
                f"support.warm_up is {self.support.warm_up:g} of train.epochs = {self.train.epochs}: nothing would be "
                "left for RCM and MAM; shorten it, or set loss.regional_contrast and loss.attentive to 0"
            )
        return self
