"""MainNet with its classification, and the two terms by which SupportNet supervises it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from wsss_methods.rcm_mam.config import RcmMamConfig
from wsss_methods.rcm_mam.losses import activation, attentive, find_prototypes, find_regions, regional_contrast
from wsss_methods.rcm_mam.net import Look, Network, Support, epochs_done, full_precision, on_grid, scaled
from wsss_platform.config import leaves
from wsss_platform.method.module import Batch, TrainingModule


class RcmMamModule(TrainingModule):
    """`main` is what is trained and what makes maps; `support` is there when RCM or MAM has a weight."""

    def __init__(self, config: RcmMamConfig, classes: int) -> None:
        super().__init__()
        self.config = config
        self.contrasts = config.loss.regional_contrast > 0
        self.attends = config.loss.attentive > 0
        self.main = Network(config, classes)
        self.support = Support(self.main, config.support) if self.contrasts or self.attends else None

    def pretrained(self) -> Iterator[nn.Parameter]:
        """MainNet's backbone."""
        return self.main.backbone.parameters()

    def class_maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """[B, C, h, w], MainNet's; labels are not used."""
        look: Look = self.main(images)
        return look.maps

    def image_scores(self, images: Tensor) -> Tensor:
        """[B, C]: the sigmoid of the averages of MainNet's class maps, 0..1."""
        look: Look = self.main(images)
        return look.maps.mean((2, 3)).sigmoid()

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """`classification`, and RCM's and MAM's terms times the ramp: 0 in the warm-up and where switched off."""
        look: Look = self.main(batch.images)
        scores = full_precision(look.maps.mean(dim=(2, 3)))
        idle = self._idle(scores)
        terms = {
            "classification": functional.multilabel_soft_margin_loss(scores, batch.labels),
            "regional_contrast": idle,
            "attentive": idle,
        }
        epoch = epochs_done(progress, self.config.train.epochs)
        if self.support is not None and self.support.before_step(self.main, epoch):
            terms |= self._supervised(look, batch, self.support)
        return terms

    def after_step(self) -> None:
        """SupportNet follows."""
        if self.support is not None:
            self.support.after_step(self.main)

    def applied(self) -> dict[str, float | int | bool | str]:
        """Values in use, and the sizes that the modules really have."""
        used = self.support.config if self.support is not None else self.config.support
        sections = {"support": used, "regions": self.config.regions, "attention": self.config.attention}
        values = {f"{name}.{path}": value for name, section in sections.items() for path, value in leaves(section)}
        values["heads.features"] = self.main.features.out_channels if self.main.features is not None else 0
        if self.contrasts:
            values["heads.projection"] = self.main.projection.out_channels if self.main.projection is not None else 0
        return values

    def _idle(self, scores: Tensor) -> Tensor:
        """0. It holds on to the projection, because DDP wants every parameter in every step."""
        return scores.new_zeros(()) if self.main.projection is None else 0 * self.main.projection.weight.sum()

    def _supervised(self, look: Look, batch: Batch, support: Support) -> dict[str, Tensor]:
        """The terms that are switched on, after the warm-up."""
        attention = self.config.attention
        scales = attention.scales if self.attends else ()
        every = attention.main_scales == "all"
        stride = self.main.backbone.output_stride
        views = {scale: scaled(batch.images, scale, stride) for scale in dict.fromkeys((1.0, *scales))}
        needed = views if self.contrasts else scales
        theirs: dict[float, Look] = {scale: support(views[scale]) for scale in needed}
        ours = {scale: look if scale == 1 else self.main(views[scale]) for scale in (scales if every else (1.0,))}
        with torch.autocast(batch.images.device.type, enabled=False):
            terms: dict[str, Tensor] = {}
            if self.contrasts:
                terms["regional_contrast"] = self._regional_contrast(look, theirs[1.0], batch, support)
            if self.attends:
                given, own = self._scores(theirs, look, batch, scales), self._scores(ours, look, batch, tuple(ours))
                target = given.amax(0) if attention.target == "max" else given.mean(0)
                terms["attentive"] = attentive(own.mean(0), target, one_sided=attention.one_sided)
            strength = support.strength()
            return {name: strength * term for name, term in terms.items()}

    def _regional_contrast(self, look: Look, theirs: Look, batch: Batch, support: Support) -> Tensor:
        regional = self.config.regions
        inside = _inside(batch, look)
        scores = activation(full_precision(theirs.maps).flatten(2), batch.labels, inside)
        regions = find_regions(scores, batch.labels, inside, regional)
        vectors = support.contrasted(theirs.features).flatten(2)
        classes, by_image = scores.shape[1], regional.pool == "image"
        prototypes, exist = find_prototypes(vectors, regions, classes, by_image=by_image)
        own = self.main.contrasted(look.features).flatten(2)
        return regional_contrast(own, regions, prototypes, exist, regional.temperature)

    @staticmethod
    def _scores(looks: Mapping[float, Look], main: Look, batch: Batch, scales: tuple[float, ...]) -> Tensor:
        """Maps 0..1 of several scales on MainNet's grid, [S, B, C, N]. Each is resized before it is divided by its
        maximum, so that each reaches 1 there."""
        inside, grid = _inside(batch, main), main.maps.shape[2:]
        return torch.stack([activation(on_grid(looks[s].maps, grid), batch.labels, inside) for s in scales])


def _inside(batch: Batch, look: Look) -> Tensor:
    """Which positions of a grid lie in the image, bool [B, N]."""
    size = look.maps.shape[2:]
    return functional.interpolate(batch.valid.unsqueeze(1).float(), size, mode="nearest-exact").flatten(1) > 0
