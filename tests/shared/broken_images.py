"""A VOC tree with two truncated images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from wsss_methods import get
from wsss_platform.config import DataConfig
from wsss_platform.plan.experiment import Experiment

IDS = [f"2007_{number:06d}" for number in range(34)]  # two chunks
BROKEN = IDS[3], IDS[33]


def tree(root: Path) -> Experiment:
    """A VOC tree whose list "all" has two truncated images; its list "train" has none."""
    rng = np.random.default_rng(0)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets/Segmentation/all.txt").write_text("\n".join(IDS) + "\n")
    (root / "ImageSets/Segmentation/train.txt").write_text("\n".join(IDS[:3]) + "\n")
    palette = [value for index in range(256) for value in (index, index, index)]
    for name in IDS:
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(root / f"JPEGImages/{name}.jpg")
        truth = np.zeros((40, 40), np.uint8)
        truth[10:30, 10:30] = 8
        mask = Image.fromarray(truth, "P")
        mask.putpalette(palette)
        mask.save(root / f"SegmentationClass/{name}.png")
    for name in BROKEN:
        image = root / f"JPEGImages/{name}.jpg"
        image.write_bytes(image.read_bytes()[:500])
    data = DataConfig(kind="voc12", root=str(root), train_list="train", score_list="all", labels="masks")
    method = get("cam")
    config = method.config.model_validate(
        {"train": {"epochs": 1, "batch": 3, "crop": 32}, "maps": {"scales": [1.0], "flip": False}}
    )
    return Experiment(method, config, data)
