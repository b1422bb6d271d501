"""RTC: its network on WideResNet-38."""

from __future__ import annotations

from wsss_platform.nets.released.names import Release
from wsss_platform.nets.released.wide_resnet38 import BLOCKS

RELEASES = (
    Release(
        name="rtc",
        title="RTC, the whole single-stage network",
        source="ChunyanWang1/RTC, network/resnet38_contrast.py",
        rules=(
            (BLOCKS, r"backbone.\1.\2"),
            (r"proj1\.weight", "head.project.weight"),
            (r"classifier1\.weight", "head.classify.weight"),  # the background is the first output there and here
            (r"f8_3\.weight", "correlations.conv4.weight"),
            (r"f8_4\.weight", "correlations.conv5.weight"),
            (r"f8_5\.weight", "correlations.conv6.weight"),
            (r"f9_1\.weight", "correlations.deep.weight"),
            (r"f9_2\.weight", "correlations.shallow.weight"),
            (r"fc8_seg_conv1\.(weight|bias)", r"segmentation.wide1.\1"),
            (r"fc8_seg_conv2\.(weight|bias)", r"segmentation.wide2.\1"),
            (r"fc8_seg_conv3\.weight", "segmentation.near.weight"),
            (r"fc8_seg_conv4\.weight", "segmentation.join.weight"),
            (r"fc8_seg_conv5\.weight", "segmentation.detail.weight"),
            (r"proj2\.weight", "segmentation.project.weight"),
            (r"classifier2\.weight", "segmentation.classify.weight"),
            (r"fc8\.weight|_aff\..*", None),  # built there and never used
        ),
        method="rtc",
        phase="rtc",
    ),
)
