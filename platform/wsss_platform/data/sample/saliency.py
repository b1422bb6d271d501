"""Saliency maps of the sample set: what a detector without classes might find. Ours.

Not read off the image: it knows the scene, and errs by chance and the more, the harder the set.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from wsss_platform.data.sample.scene import Scene, rasterise

MISSED = 0.3
"""Probability that a thing is not found, at difficulty 1."""
FALSE = 1.5
"""Mean number of regions that are found where there may be nothing, at difficulty 1."""


def detect(scene: Scene, difficulty: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """The union of the things, blurred, with misses and false regions: uint8 [H, W], 0 nothing to 255 salient.

    Args:
        scene: what stands where.
        difficulty: 0..1; at 0 every thing is found and nothing else, under a slight blur.
        random: every error is drawn from it.
    """
    height, width = scene.height, scene.width
    strength = random.uniform(0.75, 1.0, len(scene.things))
    strength[random.random(len(scene.things)) < MISSED * difficulty] *= 0.15
    field = np.concatenate([[0.0], strength]).astype(np.float32)[rasterise(scene).instances]
    for _ in range(int(random.poisson(FALSE * difficulty))):
        region = np.zeros_like(field)
        center = (int(random.integers(width)), int(random.integers(height)))
        axes = np.rint(random.uniform(0.06, 0.18, 2) * min(height, width)).astype(int).tolist()
        cv2.ellipse(region, center, axes, random.uniform(0, 180), 0, 360, random.uniform(0.4, 1.0), -1)
        field = np.maximum(field, region)
    sigma = max(height, width) / 128 * (0.8 + 2 * difficulty)
    blurred = cv2.GaussianBlur(field, (0, 0), sigma)
    saliency: NDArray[np.uint8] = np.rint(255 * blurred).astype(np.uint8)
    return saliency
