"""The protocol stamped on every number: what was seen, what was chosen, and with which ground truth.

Two scores may be ranked against each other only when their protocols are equal (`group`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, model_validator

from wsss_platform.config import (
    ImportedConfig,
    ImportedMasksConfig,
    ImportMasksSection,
    MapsConfig,
    MasksConfig,
    Section,
    fingerprint,
)
from wsss_platform.config.supervision import UNKNOWN, Knowledge, Supervision, joined, supervision_words
from wsss_platform.errors import unknown
from wsss_platform.plan.affinity import described
from wsss_platform.plan.experiment import Experiment, file_fingerprint, weights_fingerprint

SELECTIONS = (
    "none",
    "held-out:3 ground truth",
    "half of train ground truth",
    "train ground truth",
    "half of val ground truth",
    "val ground truth",
    "unknown",
)
"""What a selection can be; 3 stands for any number of images per class."""


FORMER = {"train_pictures": "train_images", "score_pictures": "score_images"}
"""Fields of protocols that earlier versions stored, with their names of today."""


def current_selection(text: object) -> object:
    """A selection of an earlier version in the words of today: "train truth" is "train ground truth"; all else as it
    is."""
    if isinstance(text, str) and re.fullmatch(r"(held-out:\d+|train|val) truth", text):
        return text.replace("truth", "ground truth")
    return text


def check_selection(text: object, where: str = "selection") -> str:
    """The text, if it names a selection; InputError with the nearest right one otherwise. Those of earlier versions
    become those of today."""
    text = current_selection(text)
    if not isinstance(text, str) or not re.fullmatch(
        r"none|unknown|(held-out:[1-9]\d{0,5}|(half of )?(train|val)) ground truth", text
    ):
        raise unknown(where, str(text), SELECTIONS, "selection")
    return text


def strongest(*selections: str) -> str:
    """Which ground truth chose a number that several choices led to: "val ground truth" before all others."""

    def rank(text: str) -> tuple[int, int]:
        kinds = (
            "none",
            "held-out",
            "half of train ground truth",
            "train ground truth",
            "unknown",
            "half of val ground truth",
            "val ground truth",
        )
        kind, _, count = text.removesuffix(" ground truth").partition(":")
        return (1, int(count)) if kind == "held-out" else (kinds.index(text), 0)

    return max(selections, key=rank)


Selection = Annotated[str, AfterValidator(check_selection)]
"""Which ground truth chose something: one of `SELECTIONS`."""


class Protocol(Section):
    """Plain values only; stored with every score."""

    data: str
    """Data set, such as "sample-" with its parameters' hash, "voc12" or "coco2014"."""
    train_list: str
    """Images trained on, with image-level labels; "unknown (imported)" for imported maps and masks."""
    train_images: int
    """How many."""
    score_list: str
    """Images scored."""
    score_images: int
    """How many."""
    supervision: Supervision
    """The knowledge that went in: image-level labels, saliency maps where a phase trains on them or a masks rule reads
    them; for imports what whoever imported them said. Empty where it is not known."""
    labels_from: str
    """Where image-level labels come from; "masks" when derived from the ground truth."""
    label_gate: bool
    """Whether the scored maps were limited to the classes the image-level labels name; of imported masks whether they
    have no other class."""
    selection: Selection
    """Which ground truth chose hyper-parameters or checkpoints; "none" for a plain training run, "unknown" for
    maps that somebody else made."""
    backbone: str
    """Architecture and output stride, "imported maps (FORM)" or "imported masks"."""
    initial_weights: str
    """"imagenet", "none" or "file:<hash>" for the backbone; "released:<hash>" or "imported:<hash>" when nothing was
    trained here."""
    scales: str
    """Scales or absolute square sizes, and flip, of the map extraction."""
    background: str
    """The fixed background rule of the masks. The sweep's best is always reported beside it as an oracle."""
    crf: str
    """Dense CRF of the masks, or "none"."""
    affinity: str
    """Affinity refinement of the scored maps and its walk, or "none"."""
    segmenter: str
    """Second-stage network trained on the masks, or "none" (the masks themselves are scored)."""
    truth: str
    """Hash of the ground truth."""

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, said: Any) -> Any:
        if not isinstance(said, Mapping):
            return said
        return {FORMER.get(name, name): value for name, value in said.items()}

    def fields_in_words(self) -> dict[str, str | int | bool]:
        """Every field as one plain value, for tables; the supervision without its hashes."""
        return self.model_dump() | {"supervision": supervision_words(self.supervision)}

    def tracked(self) -> dict[str, str | int | bool]:
        """What W&B stores of it: its group, then its fields."""
        return {"group": self.group(), **self.fields_in_words()}

    def group(self) -> str:
        """Scores with equal groups may be ranked together (12 hex digits).

        The architecture and its initial weights are part of it; how long it trained is not.
        """
        said = self.model_dump(mode="json") | {"supervision": supervision_words(self.supervision, hashes=True)}
        return fingerprint(said)[:12]


def protocol(experiment: Experiment, *, selection: Selection = "none") -> Protocol:
    """The protocol of an experiment's score."""
    phase = experiment.phases[-1]
    data, backbone = experiment.data, experiment.config.backbone
    masks, maps = experiment.masks_config(phase), experiment.maps_config(phase)
    train, score = experiment.dataset.split(data.train_list), experiment.dataset.split(data.score_list)
    weights = weights_fingerprint(backbone.weights)
    initial = weights if weights in ("imagenet", "none") else f"file:{weights[:12]}"
    released = experiment.config.released_file(phase.name)
    if released is not None:
        initial = f"released:{file_fingerprint(released, 'released')[:12]}"
    labels_from = train.labels_from
    if score.labels_from != labels_from:  # the scored maps are limited to the labels of their own list
        labels_from = f"{train.name}: {labels_from}, {score.name}: {score.labels_from}"
    rules = {
        "constant": f"constant {masks.background:g}",
        "power": f"(1 - max)^{masks.alpha:g}",
        "two_threshold": f"passes {masks.confident_foreground:g}/{masks.confident_background:g}",
        "two_alpha": f"(1 - max)^{masks.low_alpha:g} and ^{masks.high_alpha:g}",
        "saliency": f"saliency > {masks.saliency_cut}, floor {masks.saliency_floor:g}, "
        f"conflict {masks.conflict_level:g}",
    }
    found = Protocol(
        data=experiment.dataset.name,
        train_list=data.train_list,
        train_images=len(train.ids),
        score_list=data.score_list,
        score_images=len(score.ids),
        supervision=(Knowledge(kind="image-labels"), *_saliency(experiment)),
        labels_from=labels_from,
        label_gate=maps.gate == "labels",
        selection=selection,
        backbone=f"{backbone.name} stride {backbone.output_stride}",
        initial_weights=initial,
        scales=_scales(maps),
        background=rules[masks.rule],
        crf=_crf(masks),
        affinity=described(experiment.config),
        segmenter="none",
        truth=experiment.truth_fingerprint(data.score_list)[:12],
    )
    if isinstance(experiment.config, ImportedMasksConfig):
        return _of_imported_masks(found, experiment.config.imported)
    return _of_imported(found, experiment) if isinstance(experiment.config, ImportedConfig) else found


def _of_imported_masks(found: Protocol, masks: ImportMasksSection) -> Protocol:
    """The protocol with what is known of masks that somebody else made: what they hold, and what was said of them."""
    said = {
        "train_list": UNKNOWN,
        "train_images": 0,
        "supervision": masks.supervision,
        "label_gate": masks.within_labels,
        "backbone": "imported masks",
        **dict.fromkeys(("initial_weights", "scales", "background", "crf", "affinity", "segmenter"), UNKNOWN),
    }
    return found.model_copy(update=said)


def _of_imported(found: Protocol, experiment: Experiment) -> Protocol:
    """The protocol with what is known of maps that somebody else made."""
    assert isinstance(experiment.config, ImportedConfig)
    maps = experiment.config.imported
    said = {
        "train_list": UNKNOWN,
        "train_images": 0,
        "supervision": joined(maps.supervision, _saliency(experiment)),
        "label_gate": maps.gate == "labels",
        "backbone": f"imported maps ({maps.form})",
        "initial_weights": f"imported:{maps.content[:12]}",
        "scales": UNKNOWN if maps.normalise == "none" else f"{UNKNOWN}, normalised by {maps.normalise}",
    }
    return found.model_copy(update=said)


def _saliency(experiment: Experiment) -> tuple[Knowledge, ...]:
    """The saliency maps that any stage of this config uses: those of the split that is trained on, or scored."""
    trains = any("saliency" in phase.extras for phase in experiment.phases)
    rules = {experiment.masks_config(stage.phase).rule for stage in experiment.stages if stage.kind == "masks"}
    if not trains and "saliency" not in rules:
        return ()
    used = experiment.data.train_list if trains else experiment.data.score_list
    return (Knowledge(kind="saliency", hash=experiment.saliency_fingerprint(used)[:12]),)


def _crf(masks: MasksConfig) -> str:
    """The parameter set, its iterations and what was changed of it. The backend is none of it: both agree."""
    if masks.crf == "none":
        return "none"
    names = ("gaussian_position", "gaussian_weight", "bilateral_position", "bilateral_colour", "bilateral_weight")
    values = {name: getattr(masks, f"crf_{name}") for name in names}
    changed = [f"{name.replace('_', ' ')} {value:g}" for name, value in values.items() if value is not None]
    return ", ".join((f"{masks.crf} x{masks.crf_iterations}", *changed))


def _scales(maps: MapsConfig) -> str:
    sides = [f"{scale:g}" for scale in maps.scales]
    if maps.sizes:
        sides = [f"{size} x {size}" for size in maps.sizes]
    return ", ".join(sides) + (" + flip" if maps.flip else "")
