"""Batches of noise on which every phase of every method can take a step, and their limits."""

from __future__ import annotations

import torch

from wsss_platform.method import Phase
from wsss_platform.method.module import Batch


def noise_batch(phase: Phase, classes: int, images: int = 4, height: int = 64, width: int = 64, seed: int = 0) -> Batch:
    """Noise with one bright square an image, whose colour is the class's; with whatever the phase reads.

    Args:
        phase: of a method.
        classes: foreground classes.
        images: how many; image i has class i modulo `classes` alone.
        height: of an image, pixels.
        width: of an image, pixels; an eighth of it, on the right, counts as padded.
        seed: of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    pixels = 0.3 * torch.randn(images, 3, height, width, generator=generator)
    labels = torch.zeros(images, classes)
    seeds = torch.zeros(images, height, width, dtype=torch.int64)
    for index in range(images):
        kind = index % classes
        labels[index, kind] = 1
        top, left = height // 4, width // 4
        pixels[index, kind % 3, top : top + height // 2, left : left + width // 2] += 2.0 if kind < 3 else -2.0
        seeds[index, top : top + height // 2, left : left + width // 2] = kind + 1
        seeds[index, : height // 8] = 255
    valid = torch.ones(images, height, width, dtype=torch.bool)
    valid[:, :, -width // 8 :] = False
    pixels = pixels * valid.unsqueeze(1)
    maps = torch.rand(images, classes, height, width, generator=generator)
    extras = {source: seeds if what == "masks" else maps for source, what in phase.reads.items()}
    if "saliency" in phase.extras:
        extras["saliency"] = ((seeds > 0) & (seeds < 255) & valid).unsqueeze(1).float()
    return Batch([str(index) for index in range(images)], pixels, labels, valid, extras)


def one_image(batch: Batch) -> Batch:
    """The first image alone."""
    extras = {name: value[:1] for name, value in batch.extras.items()}
    return Batch(batch.ids[:1], batch.images[:1], batch.labels[:1], batch.valid[:1], extras)


def no_labels(batch: Batch) -> Batch:
    """Images of nothing."""
    batch.labels.zero_()
    return batch


def nothing_known(batch: Batch) -> Batch:
    """Earlier phases gave no label and no map."""
    for value in batch.extras.values():
        value.fill_(255 if value.dtype == torch.int64 else 0)
    return batch


def no_foreground(batch: Batch) -> Batch:
    """Earlier phases gave background alone."""
    for value in batch.extras.values():
        value.fill_(0)
    return batch


LIMITS = (one_image, no_labels, nothing_known, no_foreground)
"""Batches that lack something and must not break a training."""
