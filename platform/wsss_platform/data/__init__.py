"""Images, image-level labels and ground truth: `open_data(config) -> Dataset`."""

from __future__ import annotations

from wsss_platform.config import DataConfig
from wsss_platform.data.split import IGNORE, Dataset, Sample, Split, Truth

__all__ = ["IGNORE", "Dataset", "Sample", "Split", "Truth", "open_data"]


def open_data(config: DataConfig) -> Dataset:
    """The data set that a config names. Reads splits and labels, no images.

    Raises:
        InputError: the tree, a list or the labels are missing or wrong; the message names the file.
    """
    if config.kind == "sample":
        from wsss_platform.data.sample.dataset import SampleDataset

        return SampleDataset(config.sample)
    if config.kind == "coco":
        from wsss_platform.data.coco_folder import CocoDataset

        return CocoDataset(config)
    if config.kind == "images":
        from wsss_platform.data.image_folder import ImageDataset

        return ImageDataset(config)
    from wsss_platform.data.voc import VocDataset

    return VocDataset(config)
