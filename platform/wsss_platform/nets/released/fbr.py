"""FBR: its network on AMN (FBR-I) and that on PPC and EPS (FBR-S)."""

from __future__ import annotations

from wsss_platform.nets.released.names import Release, Rule
from wsss_platform.nets.released.wide_resnet38 import BLOCKS

_STAGES: tuple[Rule, ...] = tuple(
    rule
    # The release holds ResNet-50 as `resnet50`, as four stages (the first with the stem), and as their list.
    for stage in (r"stage1", r"backbone\.0")
    for rule in (
        (rf"{stage}\.0\.weight", "backbone.conv1.weight"),
        (rf"{stage}\.1\.(\w+)", r"backbone.bn1.\1"),
        (rf"{stage}\.4\.(\d+\..*)", r"backbone.layer1.\1"),
    )
) + tuple(
    (rf"{stage}\.0\.(\d+\..*)", rf"backbone.layer{number}.\1")
    for number in (2, 3, 4)
    for stage in (f"stage{number}", rf"backbone\.{number - 1}")
)

_NEW = ("proj_fg", "proj_bg", "classifier", "label_enc")
_HEADS: tuple[Rule, ...] = tuple(
    rule
    # The release lists its new modules once more as `newly_added`.
    for names in (_NEW, tuple(rf"newly_added\.{index}" for index in range(4)))
    for rule in (
        (rf"{names[0]}\.weight", "contrast.project_foreground.weight"),
        (rf"{names[1]}\.weight", "contrast.project_background.weight"),
        (rf"{names[2]}\.1\.c(\d)\.(weight|bias)", r"classifier.\1.\2"),
        (rf"{names[3]}\.(weight|bias)", r"conditioning.\1"),
    )
)

RELEASES = (
    Release(
        name="fbr-amn",
        title="FBR on AMN (FBR-I)",
        source="XuYin94/FBR, AMN/net/resnet50_amn.py",
        rules=(
            (r"resnet50\.((?:conv1|bn1|layer\d)\..*)", r"backbone.\1"),
            *_STAGES,
            *_HEADS,
        ),
        method="fbr",
        phase="fbr",
        selection="train ground truth",
        fresh=("contrast.banks.", "contrast.draw_"),
    ),
    Release(
        name="fbr-s",
        title="FBR on PPC and EPS (FBR-S)",
        source="XuYin94/FBR, network/resnet38_contrast.py",
        rules=(
            (BLOCKS, r"backbone.\1.\2"),
            (r"fc8\.weight", "classifier.weight"),  # the background is the last output there and here
            (r"proj_fg\.weight", "contrast.project_foreground.weight"),
            (r"proj_bg\.weight", "contrast.project_background.weight"),
            (r"bg_bn\.(\w+)", r"background_norm.\1"),
            (r"bg_classifier\.weight", "background_classifier.weight"),
            (r"f8_3\.weight", "pcm.low.weight"),
            (r"f8_4\.weight", "pcm.high.weight"),
            (r"f9\.weight", "pcm.mix.weight"),
        ),
        method="fbr_s",
        phase="fbr",
        fresh=("contrast.banks.", "contrast.draw_"),
    ),
)
