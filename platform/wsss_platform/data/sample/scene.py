"""What stands where in an image of the sample set: geometry alone, from which all ground truth follows.

Ours. The scenes make the failures on purpose that weakly supervised methods are about: a class often stands
on its own context background; an object is one small emblem of its class and a plain body that all classes
share; objects have many sizes; images hold one to three classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wsss_platform.config import SampleConfig

CLASSES = ("boat", "train", "sheep", "bird", "car", "bottle")
"""Foreground classes of the sample set; mask value of class c is c + 1."""
CONTEXTS = {0: "water", 1: "rails", 2: "meadow"}
"""Class -> the background it co-occurs with; the other classes have none."""
LISTS = ("train", "val")
"""Independent random streams, so two splits never share an image."""

Polygon = NDArray[np.int32]
"""int32 [K, 2] corners (x, y) in pixels."""


@dataclass(frozen=True)
class Shape:
    """A plain body: overlapping polygons, with the disc where an emblem may sit."""

    polygons: tuple[Polygon, ...]
    center: tuple[float, float]
    """(x, y) of the disc in pixels, at one end of the body."""
    radius: float
    """Of the disc in pixels."""
    box: tuple[int, int, int, int]
    """left, top, right, bottom of body and disc, half-open."""


@dataclass(frozen=True)
class Thing:
    """One object: a shape with the emblem of its class."""

    label: int
    """Class index from 0."""
    shape: Shape
    angle: float
    """Of the emblem's pattern, radians."""


@dataclass(frozen=True)
class Scene:
    """One image before it is painted."""

    height: int
    width: int
    contexts: tuple[int, ...]
    """Classes whose context background is in the image, in the order of their columns."""
    ground: NDArray[np.uint8]
    """[H, W]: 0 far background, 1 near background, 2 + c the context background of class c."""
    things: tuple[Thing, ...]
    """From back to front."""

    @property
    def labels(self) -> NDArray[np.bool_]:
        """bool [C]."""
        return np.isin(np.arange(len(CLASSES)), [thing.label for thing in self.things])


@dataclass(frozen=True)
class Layers:
    """Ground truth of a scene, each uint8 [H, W]."""

    mask: NDArray[np.uint8]
    """0 background, c + 1 for class c."""
    parts: NDArray[np.uint8]
    """0 background, 1 the discriminative emblem, 2 the plain body."""
    instances: NDArray[np.uint8]
    """0 background, k + 1 for the k-th thing."""


def lay_out(config: SampleConfig, list_name: str, index: int) -> Scene:
    """The scene of one image; a pure function of its arguments."""
    random = np.random.default_rng((config.seed, LISTS.index(list_name), index, 0))
    short = round(config.size * random.uniform(0.75, 1.0))
    height, width = (config.size, short) if random.random() < 0.3 else (short, config.size)
    count = int(random.choice(3, p=(0.55, 0.33, 0.12))) + 1
    first = index % len(CLASSES)
    others = random.permutation([label for label in range(len(CLASSES)) if label != first])
    wanted = [first, *others[: count - 1].tolist()]
    contexts = _contexts(config, wanted, random)
    ground = _ground(height, width, contexts, random)
    things: list[Thing] = []
    for label in wanted:
        low, high = (0.3, 0.75) if count == 1 else (0.2, 0.55)
        _place(things, label, ground, random.uniform(low, high), random)
    for label in wanted:
        if random.random() < 0.4 and len(things) < 5:
            _place(things, label, ground, _log_uniform(random, 0.1, 0.4), random)
    return Scene(height, width, contexts, ground, tuple(things))


def rasterise(scene: Scene) -> Layers:
    """Exact ground truth: what is drawn later covers what is behind it."""
    shape = (scene.height, scene.width)
    layers = Layers(*(np.zeros(shape, np.uint8) for _ in range(3)))
    for number, thing in enumerate(scene.things, start=1):
        for polygon in thing.shape.polygons:
            cv2.fillPoly(layers.mask, [polygon], thing.label + 1)
            cv2.fillPoly(layers.parts, [polygon], 2)
            cv2.fillPoly(layers.instances, [polygon], number)
        center = (round(thing.shape.center[0]), round(thing.shape.center[1]))
        radius = max(1, round(thing.shape.radius))
        cv2.circle(layers.mask, center, radius, thing.label + 1, -1)
        cv2.circle(layers.parts, center, radius, 1, -1)
        cv2.circle(layers.instances, center, radius, number, -1)
    return layers


def make_shape(random: np.random.Generator, length: float, limbs: bool) -> Shape:
    """A random body around (0, 0) whose longer side is `length` pixels, by the same law for all classes."""
    aspect, power = random.uniform(0.42, 0.75), random.uniform(2.0, 4.0)
    tilt, mirror = random.uniform(-0.5, 0.5), 1 if random.random() < 0.5 else -1
    turn = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    wobble = 1 + 0.08 * np.sin(2 * turn + random.uniform(0, 6)) + 0.06 * np.sin(3 * turn + random.uniform(0, 6))
    cosine, sine = np.cos(turn), np.sin(turn)
    x = np.sign(cosine) * np.abs(cosine) ** (2 / power) * wobble
    y = np.sign(sine) * np.abs(sine) ** (2 / power) * wobble * aspect
    outlines = [np.stack([x, y], axis=1)]
    for foot in random.uniform(-0.75, 0.75, int(random.integers(0, 5)) if limbs else 0):
        slant, thick, reach = random.uniform(-0.15, 0.15), random.uniform(0.07, 0.14), aspect + random.uniform(0.2, 0.5)
        outlines.append(
            np.array(
                [(foot - thick, 0), (foot + thick, 0), (foot + slant + thick, reach), (foot + slant - thick, reach)]
            )
        )
    radius = random.uniform(0.26, 0.36)
    disc = np.array([[0.85, -aspect * random.uniform(0.1, 0.6)]])
    rotation = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    outlines, disc = [(outline @ rotation) * (mirror, 1) for outline in outlines], (disc @ rotation) * (mirror, 1)
    points = np.concatenate([*outlines, disc - radius, disc + radius])
    low, high = points.min(axis=0), points.max(axis=0)
    scale, middle = length / float((high - low).max()), (low + high) / 2
    half = (high - low) / 2 * scale
    return Shape(
        tuple(np.rint((outline - middle) * scale).astype(np.int32) for outline in outlines),
        (float((disc - middle)[0, 0] * scale), float((disc - middle)[0, 1] * scale)),
        radius * scale,
        (-int(half[0]) - 1, -int(half[1]) - 1, int(half[0]) + 2, int(half[1]) + 2),
    )


def moved(shape: Shape, x: int, y: int) -> Shape:
    """The same shape around (x, y)."""
    left, top, right, bottom = shape.box
    return Shape(
        tuple(polygon + np.array([x, y], np.int32) for polygon in shape.polygons),
        (shape.center[0] + x, shape.center[1] + y),
        shape.radius,
        (left + x, top + y, right + x, bottom + y),
    )


def _log_uniform(random: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def _contexts(config: SampleConfig, wanted: Sequence[int], random: np.random.Generator) -> tuple[int, ...]:
    """Contexts of the classes there are with probability `co_occurrence`, of the others rarely."""
    rarely = 0.25 * (1 - config.co_occurrence)
    drawn = [
        label
        for label, chance in zip(CONTEXTS, random.random(len(CONTEXTS)), strict=True)
        if chance < (config.co_occurrence if label in wanted else rarely)
    ]
    return tuple(random.permutation(drawn).tolist())


def _ground(height: int, width: int, contexts: Sequence[int], random: np.random.Generator) -> NDArray[np.uint8]:
    """A wavy horizon; below it the near background, or the contexts side by side."""
    columns = np.arange(width)
    start, swing, phase = random.uniform(0.15, 0.5), random.uniform(0, 0.06), random.uniform(0, 6)
    horizon = height * (start + swing * np.sin(columns * random.uniform(2, 7) / width + phase))
    below = np.arange(height)[:, None] >= horizon[None, :]
    if not contexts:
        return below.astype(np.uint8)
    slope = random.uniform(-0.25, 0.25) * (np.arange(height)[:, None] - height / 2)
    share = np.clip((columns[None, :] + slope) * len(contexts) / width, 0, len(contexts) - 1e-6).astype(np.intp)
    kinds = np.array([2 + label for label in contexts], np.uint8)
    return np.where(below, kinds[share], 0).astype(np.uint8)


def _place(
    things: list[Thing], label: int, ground: NDArray[np.uint8], size: float, random: np.random.Generator
) -> None:
    """Put a thing of about `size` times the shorter side in front of the others, smaller where there is no room.

    It never covers an emblem, and at most a fifth of another thing's box; so each label shows in the mask.
    """
    height, width = ground.shape
    home = 2 + label if (ground == 2 + label).any() else None
    length = max(8.0, size * min(height, width))
    for attempt in range(60):
        if attempt % 6 == 0:
            shape = make_shape(random, max(8.0, length * 0.85 ** (attempt // 6)), limbs=True)
        left, top, right, bottom = shape.box
        if right - left >= width or bottom - top >= height:
            continue
        x, y = int(random.integers(-left, width - right + 1)), int(random.integers(-top, height - bottom + 1))
        if home is not None and attempt < 48 and ground[y, x] != home:
            continue
        here = moved(shape, x, y)
        if all(_free(here.box, thing.shape) for thing in things):
            things.append(Thing(label, here, random.uniform(0, 2 * np.pi)))
            return


def _free(box: tuple[int, int, int, int], other: Shape) -> bool:
    x, y, reach = *other.center, other.radius + 1
    if _overlap(box, (int(x - reach), int(y - reach), int(x + reach) + 1, int(y + reach) + 1)):
        return False
    return _overlap(box, other.box) <= 0.2 * min(_area(box), _area(other.box))


def _overlap(one: tuple[int, int, int, int], two: tuple[int, int, int, int]) -> int:
    wide, tall = min(one[2], two[2]) - max(one[0], two[0]), min(one[3], two[3]) - max(one[1], two[1])
    return max(wide, 0) * max(tall, 0)


def _area(box: tuple[int, int, int, int]) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
