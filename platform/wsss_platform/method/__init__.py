"""The whole contract between a method and the platform: `Method`, `Phase`, `TrainingModule`, `Batch`.

A method is one folder that imports this module, config, nets, data.views and masks.rules, and
nothing else of the platform; the platform calls it through these types alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wsss_platform.config import MethodConfig
from wsss_platform.errors import InputError, unknown
from wsss_platform.method.dotted import check_dotted, find_dotted

if TYPE_CHECKING:
    from wsss_platform.method.module import TrainingModule

Reads = Literal["masks", "maps"]
_EXAMPLE = "my_package.module:MyModule"
PLAIN_CAM = ("cam", 1, "cam")
"""Method, revision and phase of plain CAM, which stand in the keys of every phase that is `plain_cam`."""
EXTRAS = ("saliency",)
"""Supervision beyond image-level labels that a phase may ask for."""


@dataclass(frozen=True)
class Phase:
    """One network trained from one group of sections.

    A method with one network has one phase; FBR on AMN has two (a CAM classifier makes seeds, the
    second network is trained on them).
    """

    name: str
    """Unique inside the method; part of the stage's name, such as "train:seed"."""
    module: str | Callable[[Any, int], TrainingModule]
    """(method config, number of foreground classes) -> the network with its losses, initial weights loaded: a class or
    function, or its dotted name such as "wsss_methods.cam.module:CamModule", which is imported when it is built,
    so that torch is not loaded with the method."""
    sections: tuple[str, ...]
    """Dotted paths of the sections whose change repeats this phase's training."""
    train: str = "train"
    """Dotted path of this phase's TrainConfig; always among `sections`."""
    loss: str = "loss"
    """Dotted path of this phase's loss weights; always among `sections`."""
    maps: str = "maps"
    """Dotted path of the MapsConfig that turns this phase's weights into maps."""
    masks: str = "masks"
    """Dotted path of the MasksConfig that turns those maps into masks."""
    reads: Mapping[str, Reads] = field(default_factory=dict)
    """Earlier phases whose output on the training split this phase trains on: {"seed": "masks"} gives
    `batch.extras["seed"]`, cropped and flipped with the image."""
    refines: str = ""
    """An earlier phase whose stored maps of a split this phase turns into its own by `TrainingModule.refine`; "" for
    a phase that makes maps from images alone."""
    refine_sections: tuple[str, ...] = ()
    """Dotted paths of what `TrainingModule.refine` reads beside the weights; a change repeats the refined maps."""
    begins: str = ""
    """Dotted path of the epochs before which a part of the network or a term of the loss waits (a head, a warm-up), so
    that a search compares trials an epoch later at the earliest (the last phase's counts); "" where nothing waits."""
    image_scores: bool = False
    """Whether its training module has `image_scores`, so that its maps may have the gate "predicted"."""
    plain_cam: bool = False
    """Whether it trains the platform's CAM classifier (nets.heads.cam_classifier) and nothing else. With equal settings
    such phases of all methods share one training, and its CAMs are the baseline of a study."""
    extras: tuple[str, ...] = ()
    """Supervision beyond image-level labels that this phase trains on, of `EXTRAS`; stamped in the protocol.
    "saliency" gives `batch.extras["saliency"]`, float32 [B, 1, H, W] in 0..1, 0 where padded."""

    def __post_init__(self) -> None:
        for name in self.extras:
            if name not in EXTRAS:
                raise unknown(f"extra of phase {self.name!r}:", name, EXTRAS)
        missing = {self.train, self.loss} - set(self.sections)
        if missing:
            raise ValueError(f"phase {self.name!r}: {sorted(missing)} must be among its sections")
        if isinstance(self.module, str):
            check_dotted(f"training module of phase {self.name!r}:", self.module, _EXAMPLE)

    def build(self, config: Any, classes: int) -> TrainingModule:
        """The network with its losses, initial weights loaded.

        Args:
            config: of the method.
            classes: number of foreground classes.

        Raises:
            InputError: the dotted name leads nowhere, or to something that cannot be called.
        """
        made = self.module
        if isinstance(made, str):
            what = f"training module of phase {self.name!r}:"
            made = find_dotted(what, made, _EXAMPLE)
            if not callable(made):
                raise InputError(f"{what} {self.module!r}: expected a class or a function, got {made!r}")
        built: TrainingModule = made(config, classes)
        return built


@dataclass(frozen=True)
class Method:
    """What a method offers to the platform. `METHOD` in its package."""

    name: str
    """As typed: `wsss-platform train NAME`."""
    title: str
    """One line for `wsss-platform methods`."""
    paper: str
    """Where it comes from."""
    revision: int
    """Raised when the same config gives other numbers; part of every key."""
    config: type[MethodConfig]
    """Its config; the defaults run on a laptop, each field says the paper's value."""
    phases: Callable[[Any], tuple[Phase, ...]]
    """The phases of one config, in order."""
    folder: Path
    """Its package folder; `presets/*.toml` in it are partial configs by name."""
    extras: tuple[str, ...] = ()
    """Supervision beyond image-level labels that a config of it may use, such as "saliency". The protocol stamps what
    the phases and masks rules of the config at hand do use."""

    host: Mapping[str, Any] = field(default_factory=dict)
    """Settings that leave the network that the method is added to, without the method's own terms: dotted path ->
    value. A study scores it beside the method. Empty where there is none, or where it is plain CAM."""
    host_name: str = ""
    """As shown beside its score, such as "AMN"."""

    def presets(self) -> dict[str, Path]:
        """Shipped partial configs: name -> TOML file."""
        return {path.stem: path for path in sorted((self.folder / "presets").glob("*.toml"))}
