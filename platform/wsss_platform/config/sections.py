"""The sections that all methods share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from wsss_platform.config.affinity import IrnLoss, PsaLoss, WalkConfig
from wsss_platform.config.section import Section


class BackboneConfig(Section):
    """Which network, with which initial weights."""

    name: Literal["efficientnet_lite0", "resnet50", "vgg16", "wide_resnet38"] = "efficientnet_lite0"
    """Architecture. EfficientNet-Lite0 comes with ImageNet weights in a package and trains on two cores."""
    weights: str = "imagenet"
    """Initial weights: "imagenet" (by name), "none" (random), or the path of a local state dict.
    WideResNet-38's come from `wsss-platform import-weights`."""
    output_stride: Literal[8, 16, 32] = 16
    """Input pixels per output position; later strides become dilation. CAM needs 16 or 8; VGG-16 and WideResNet-38
    are those of the field's released code, which have 8."""
    batch_norm: Literal["frozen", "train"] = "frozen"
    """"frozen" keeps running statistics and affine weights (IRN's FixedBatchNorm), so batches stay
    independent and DDP equals one process; "train" updates them."""

    @model_validator(mode="after")
    def _stride(self) -> Self:
        if self.name in ("vgg16", "wide_resnet38") and self.output_stride != 8:
            raise ValueError(f"{self.name} has output_stride 8 only, got {self.output_stride}")
        return self


class SuppressionConfig(Section):
    """Discriminative region suppression (DRS, Kim et al., AAAI 2021): a bound on each channel's strongest places."""

    control: Literal["learnable", "constant", "off"] = "learnable"
    """What the bound is, as a fraction of the channel's maximum: "learnable" is a sigmoid of a linear layer on the
    channel means, one layer per activation; "constant" is `delta`; "off" leaves the network as it is.
    Learnable [code]."""
    delta: float = Field(0.55, ge=0, le=1)
    """Control "constant": fraction of the channel's maximum, 0..1. 0.55 [unknown: reported second hand, no default in
    the code, where 0 stands for "learnable"]."""
    placement: Literal["all", "stage3", "stage4", "last"] = "all"
    """Which activations: all of them, those from the third or fourth stage on, or the backbone's last one, with the
    layers after the backbone in each case. All [code]; the others [ours]."""


class TrainConfig(Section):
    """One training phase: views, optimiser, schedule, length."""

    epochs: int = Field(8, ge=1)
    """Passes over the training split."""
    batch: int = Field(16, ge=1)
    """Images per optimiser step over ALL workers together."""
    optimiser: Literal["sgd", "adam", "adamw"] = "adamw"
    """Update rule."""
    learning_rate: float = Field(2e-4, gt=0, le=10)
    """Of the pretrained weights."""
    new_layer_factor: float = Field(10.0, ge=1, le=100)
    """Learning rate of new layers over that of the pretrained ones."""
    bias_factor: float = Field(1.0, ge=0.1, le=10)
    """Learning rate of biases over that of the weights beside them. PSA and DRS: 2."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """For sgd. Mind that IRN, PSA, SEAM, EPS and FBR-S effectively train with weight decay in this slot
    (their PolyOptimizer passes it positionally): their effective momentum is 5e-4 (IRN: 1e-4)."""
    nesterov: bool = False
    """Nesterov's momentum, for sgd. DRS: on."""
    weight_decay: float = Field(1e-4, ge=0, le=1)
    """On weights; biases and BatchNorm parameters get none, unless `decay_biases`."""
    decay_biases: bool = False
    """Whether biases and BatchNorm parameters decay too. DRS: they do; PSA: they do not."""
    schedule: Literal["constant", "poly", "cosine", "step"] = "poly"
    """Learning rate over optimiser steps; poly is (1 - step/steps)^power, step is a tenth from each epoch of
    `steps` on."""
    steps: tuple[int, ...] = ()
    """Epochs, counted from 1, at whose start schedule "step" divides the learning rate by ten. DRS: 5, 10."""
    power: float = Field(0.9, gt=0, le=5)
    """Exponent of the poly schedule."""
    crop: int = Field(256, ge=16, le=2048)
    """Side of the square training crop in pixels; padded with the mean colour where the image is smaller."""
    resize: Literal["scale", "long_side", "square"] = "scale"
    """How `resize_range` is read: a factor on the image, the length of its longer side in pixels, or both its
    sides in pixels ("square", which does not keep the proportions; DRS 384)."""
    resize_range: tuple[float, float] = (0.5, 1.0)
    """Uniform range of the random resize before the crop."""
    flip: bool = True
    """Random horizontal flip."""
    jitter: float = Field(0.0, ge=0, le=1)
    """Brightness, contrast and saturation jitter (hue a third of it); 0 is off."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Autocast type of the forward pass. On CPUs without bf16 units anything but float32 is slower."""
    channels_last: bool = True
    """Memory format of images and convolutions; faster on CPUs and tensor cores, same numbers up to rounding."""
    checkpoint_every: int = Field(1, ge=1)
    """Epochs between checkpoints with all state."""

    @model_validator(mode="after")
    def _range(self) -> Self:
        low, high = self.resize_range
        if not 0 < low <= high:
            raise ValueError(f"resize_range must be 0 < low <= high, got {low}, {high}")
        if self.resize == "scale" and high > 8:
            raise ValueError(f"resize_range {low}..{high} looks like pixels; set resize = 'long_side' or 'square'")
        if self.resize != "scale" and low < 16:
            raise ValueError(f"resize_range {low}..{high} looks like factors; set resize = 'scale'")
        return self

    @model_validator(mode="after")
    def _optimiser(self) -> Self:
        if self.nesterov and (self.optimiser != "sgd" or self.momentum == 0):
            raise ValueError("nesterov needs optimiser 'sgd' with a momentum above 0")
        if (self.schedule == "step") != bool(self.steps):
            raise ValueError("schedule 'step' and `steps`, the epochs at which it drops, go together")
        if list(self.steps) != sorted(set(self.steps)) or any(epoch < 2 for epoch in self.steps):
            raise ValueError(f"steps must be ascending epochs from 2 on, got {list(self.steps)}")
        return self


class MapsConfig(Section):
    """How weights become one map per present class (common.md section 3)."""

    scales: tuple[float, ...] = (0.5, 1.0, 1.5)
    """Factors on the image; outputs are resized to the stored grid before fusing."""
    sizes: tuple[int, ...] = ()
    """Sides in pixels of square network inputs, into which the whole image is resized without keeping its
    proportions; when there are any, `scales` is not used. DRS: 256, 320, 384."""
    flip: bool = True
    """Also run the mirrored image at each scale."""
    fuse: Literal["sum", "mean", "max"] = "sum"
    """How the views (scale x flip) become one map."""
    activation: Literal["relu", "softmax", "none"] = "relu"
    """Applied to the network's class scores; softmax runs over classes and the background channel."""
    activate: Literal["view", "fused"] = "view"
    """Whether the activation is applied to each view or once after fusing."""
    normalise: Literal["max", "minmax", "none"] = "max"
    """Per class over the image, to 0..1; "none" clips to 0..1."""
    normalise_views: bool = False
    """Normalise each view before fusing instead of the fused map; the result is clipped to 0..1. DRS does."""
    gate: Literal["labels", "predicted", "none"] = "labels"
    """Which classes an image's maps are made and stored of: those its image-level labels name (pseudo masks of the
    training split), those the network predicts, or all. Only "predicted" and "none" show what a network does on images
    without labels; the protocol of a score says whether labels were used."""
    gate_threshold: float = Field(0.5, ge=0, lt=1)
    """Gate "predicted": classes whose image score, 0..1 by the network, is above it."""
    precision: Literal["uint8", "uint11", "float16", "float32"] = "uint11"
    """Stored type; uint8 is round(255 x score), uint11 round(2040 x score). float32 belongs to store "views", which
    then loses nothing."""
    store: Literal["grid", "views"] = "grid"
    """What is kept: "grid" the fused map at nodes 4 pixels apart, quick to sweep; "views" the network's own output
    at each scale, still nearer to maps made at full size, but slower to sweep."""

    def without_effect(self) -> Mapping[str, str]:
        return {"scales": f"sizes is {list(self.sizes)}; with sizes = [] scales are used"} if self.sizes else {}

    @model_validator(mode="after")
    def _scales(self) -> Self:
        if not self.scales or any(not 0.1 <= scale <= 4 for scale in self.scales):
            raise ValueError(f"scales must be a non-empty list of factors in 0.1..4, got {self.scales}")
        if any(not 16 <= size <= 2048 for size in self.sizes):
            raise ValueError(f"sizes are sides in pixels, 16..2048, got {list(self.sizes)}")
        if self.normalise_views and (self.fuse == "sum" or self.activate == "fused" or self.normalise == "none"):
            raise ValueError(
                "normalise_views needs fuse 'max' or 'mean' (a sum leaves 0..1), activate 'view' (the activation "
                "comes before it) and a normalise that is not 'none'"
            )
        return self

    @model_validator(mode="after")
    def _stored(self) -> Self:
        if self.store == "grid" and self.precision == "float32":
            raise ValueError("precision 'float32' needs store 'views'; a grid is kept as uint8, uint11 or float16")
        if self.store == "views" and self.activation == "softmax" and self.activate == "fused":
            raise ValueError(
                "store 'views' keeps the present classes only, and a softmax after fusing needs all; "
                "set activate = 'view' or store = 'grid'"
            )
        return self


class MasksConfig(Section):
    """How maps become one label per pixel (common.md section 4)."""

    rule: Literal["constant", "power", "two_threshold", "two_alpha", "saliency"] = "constant"
    """Background score: the constant `background`; (1 - max)^alpha; IRN's confident foreground and
    background passes, which leave 255 (ignore) where they disagree; the same with PSA's and SEAM's two exponents; or
    DRS's: 1 where the image's saliency is low, 0 where it is high, with 255 where maps and saliency contradict each
    other (needs `data.saliency`)."""
    background: float = Field(0.3, ge=0, le=1)
    """Score 0..1 under which a pixel is background (rule "constant"). Never sampled by a search: the sweep
    solves it exactly."""
    alpha: float = Field(8.0, gt=0, le=128)
    """Exponent of rule "power"; larger means less background."""
    confident_foreground: float = Field(0.30, ge=0, le=1)
    """Rule "two_threshold": background score of the foreground pass (IRN 0.30; AMN's second 0.45)."""
    confident_background: float = Field(0.05, ge=0, le=1)
    """Rule "two_threshold": background score of the background pass (IRN 0.05; AMN's second 0.15)."""
    low_alpha: float = Field(4.0, gt=0, le=128)
    """Rule "two_alpha": exponent of the foreground pass, la_crf. PSA and SEAM 4, AEFT 2 [code]."""
    high_alpha: float = Field(32.0, gt=0, le=128)
    """Rule "two_alpha": exponent of the background pass, ha_crf. PSA 32, SEAM 24, AEFT 21 [code]."""
    saliency_floor: float = Field(0.20, ge=0, le=1)
    """Rule "saliency": scores 0..1 under it count as 0. DRS's alpha: 0.20 [code]."""
    saliency_cut: int = Field(50, ge=0, le=254)
    """Rule "saliency": a pixel is salient above this value of the 8-bit saliency map. DRS: 50 [code]."""
    conflict_level: float = Field(0.9, ge=0, le=1)
    """Rule "saliency": 255 where more than two channels, the background among them, score above it. DRS: 0.9 [code]."""
    crf: Literal["none", "irn", "psa", "walk", "deeplab", "deeplab_v2", "afa", "toco"] = "none"
    """Dense CRF by the name of its published parameter set (masks/crf/dense_crf.py says whose)."""
    crf_iterations: int = Field(10, ge=1, le=50)
    """Mean-field iterations. Published with: irn, psa, deeplab_v2, afa, toco 10 (FBR-S 5); walk, deeplab 1 [code]."""
    crf_gaussian_position: float | None = Field(None, gt=0, le=500)
    """Width of the position kernel in pixels of the image; unset is the parameter set's."""
    crf_gaussian_weight: float | None = Field(None, ge=0, le=100)
    """Weight of the position kernel; unset is the parameter set's."""
    crf_bilateral_position: float | None = Field(None, gt=0, le=500)
    """Width in position of the position-and-colour kernel, in pixels; unset is the parameter set's."""
    crf_bilateral_colour: float | None = Field(None, gt=0, le=255)
    """Width in colour of the position-and-colour kernel, in levels of 255; unset is the parameter set's."""
    crf_bilateral_weight: float | None = Field(None, ge=0, le=100)
    """Weight of the position-and-colour kernel; unset is the parameter set's."""
    crf_backend: Literal["auto", "pydensecrf", "lattice"] = "pydensecrf"
    """Who computes it: pydensecrf, our own lattice (quicker, runs in threads; labels differ in less than one pixel of
    10,000), or the quicker one for the number of labels [ours]."""

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.rule == "two_threshold" and self.confident_background > self.confident_foreground:
            raise ValueError("confident_background must not exceed confident_foreground")
        if self.rule == "two_alpha" and self.low_alpha > self.high_alpha:
            raise ValueError("low_alpha must not exceed high_alpha: a larger exponent means less background")
        if self.rule == "saliency" and self.crf != "none":
            raise ValueError("rule 'saliency' takes no CRF (DRS has none); set crf = 'none'")
        return self


class AffinityConfig(Section):
    """Affinity refinement after the last phase of any method: its maps and confident masks teach a second network
    which neighbours belong together, and a random walk over that spreads the maps."""

    kind: Literal["none", "psa", "irn"] = "none"
    """"psa" is PSA's and SEAM's AffinityNet: the likeness of learnt features, stride 8. "irn" is IRN: no boundary
    between both cells, stride 4, on a backbone that is not trained."""
    train_radius: int = Field(5, ge=2, le=16)
    """Pairs of cells nearer than this are trained on. PSA: 5; IRN: 10 (both [code])."""
    displacement_factor: float = Field(1.0, ge=0.1, le=100)
    """Kind "irn": learning rate of the displacement branch over that of the boundary branch. 10 [code] with SGD; 1
    [ours] for AdamW, whose step does not grow with the gradient."""
    train: TrainConfig = TrainConfig(epochs=4, resize_range=(0.5, 1.5))
    """Its training. PSA: SGD, batch 8, 8 epochs, crop 448, rate 0.1 (SEAM 0.01), decay 5e-4, no resizing, jitter 0.3.
    IRN: SGD, batch 32, 3 epochs, crop 512, scale 0.5-1.5, boundary branch 0.1, decay 1e-4 (all [code])."""
    seeds: MasksConfig = MasksConfig(rule="two_threshold", crf="irn")
    """How the last phase's maps become the labels it is trained on; 255 takes no part. IRN's confident passes [code];
    PSA's alphas 4 and 32 [code] are, before its CRF, the thresholds 0.2755 and 0.077. The masks of the walked maps have
    the section that the method's own masks would have."""
    psa_loss: PsaLoss = PsaLoss()
    """Loss weights of kind "psa"."""
    irn_loss: IrnLoss = IrnLoss()
    """Loss weights of kind "irn"."""
    walk: WalkConfig = WalkConfig()
    """The random walk; a change repeats only the walked maps."""


class MethodConfig(Section):
    """The base of every method's config. A method adds `loss` and its own sections."""

    backbone: BackboneConfig = BackboneConfig()
    train: TrainConfig = TrainConfig()
    maps: MapsConfig = MapsConfig()
    masks: MasksConfig = MasksConfig()
    affinity: AffinityConfig = AffinityConfig()
    released: tuple[str, ...] = ()
    """Phases that are not trained but taken as they are, each "PHASE=FILE" with a file of `import-weights` or the
    weights.pt of another training. The option `--weights` writes it."""

    @model_validator(mode="after")
    def _files(self) -> Self:
        names = [item.partition("=")[0] for item in self.released]
        if not all(re.fullmatch(r"[A-Za-z_]\w*=.+", item) for item in self.released) or len(set(names)) < len(names):
            raise ValueError(f"released: expected PHASE=FILE, each phase once, got {list(self.released)}")
        return self

    @model_validator(mode="after")
    def _refinable(self) -> Self:
        if self.affinity.kind != "none" and self.maps.store == "views":
            raise ValueError(f"affinity.kind {self.affinity.kind!r} walks maps on their grid; set maps.store = 'grid'")
        return self

    def released_file(self, phase: str) -> str | None:
        """The file that a phase's weights are taken from; None when it is trained."""
        return dict(item.split("=", 1) for item in self.released).get(phase)


class SampleConfig(Section):
    """The built-in generated set; the image is a function of these numbers and its index."""

    seed: int = Field(0, ge=0)
    """Seed of the whole set."""
    train: int = Field(160, ge=1, le=100_000)
    """Images in the split "train"."""
    val: int = Field(80, ge=1, le=100_000)
    """Images in the split "val"."""
    size: int = Field(128, ge=48, le=1024)
    """Longer side of an image in pixels; the shorter side varies from 3/4 of it."""
    difficulty: float = Field(0.2, ge=0, le=1)
    """Clutter, noise and colour overlap between objects and backgrounds."""
    co_occurrence: float = Field(0.5, ge=0, le=1)
    """Probability that a context background stands behind the class it belongs to."""


class DataConfig(Section):
    """Which images, which splits, which labels."""

    kind: Literal["sample", "voc12", "coco", "images"] = "sample"
    """"sample" is generated; the others lie in the folder `root`: "voc12" is a VOC tree, "coco" is COCO as it is
    distributed, "images" is a folder of images with a label file."""
    root: str = ""
    """Folder of the data set; "" for the sample."""
    year: Literal[0, 2014, 2017] = 0
    """Release of COCO that is read; 0 is the one that is there."""
    train_list: str = "train"
    """List that is trained on, with image-level labels only."""
    score_list: str = "train"
    """Split whose maps are made and scored against ground truth."""
    labels: str = "auto"
    """Image-level labels of voc12: "auto" takes the first there is of XML annotations,
    image_level_labels.json, class indices in the list file (DRS's form) and the masks; "xml", "list", "masks", or
    the path of a label JSON. Of images: "auto" takes the folder's labels.csv, labels.json or labels.npy; else the path
    of such a file. COCO has its own."""
    masks: str = "auto"
    """Folder of ground-truth masks. voc12: "auto" takes SegmentationClassAug when it covers the split, else
    SegmentationClass; images: "auto" takes `masks`. COCO's are painted from its annotations."""
    saliency: str = ""
    """Folder of 8-bit grey PNGs by image id, 0 nothing to 255 salient, under `root` or absolute; "" is none. It is
    supervision beyond labels and read only where a method or a rule asks for it. The sample generates its own."""
    sample: SampleConfig = SampleConfig()
