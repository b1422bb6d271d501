"""Paint a scene of the sample set: backgrounds, clutter, bodies, emblems, light and noise.

Textures are cut from two fixed noise tables and coloured through 256-entry palettes, which keeps an image of
128 pixels at about two milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from wsss_platform.data.sample.scene import CONTEXTS, Scene, Shape, make_shape, moved

Field = NDArray[np.float32]
"""float32 [H, W] values, or [H, W, 3] colours 0..255."""
Texture = Callable[[np.random.Generator, int, int, float], Field]
"""(random, height, width, pixels per unit) -> colours; a unit is 1/128 of the image's side."""

_TABLE = 512
_BODIES = ((150, 120, 95), (175, 150, 120), (120, 95, 80), (190, 175, 155), (140, 110, 110))
"""Body colours that all classes share."""
_STONES = ((105, 115, 125), (85, 95, 100), (135, 140, 140), (95, 110, 95))
"""Colours of clutter, drawn towards the bodies' as difficulty grows."""


def paint(scene: Scene, difficulty: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """The scene as RGB uint8 [H, W, 3].

    Args:
        scene: what stands where.
        difficulty: 0..1, more clutter and noise, bodies closer to what is behind them.
        random: all that is not geometry comes from it.
    """
    height, width = scene.height, scene.width
    unit = max(height, width) / 128
    canvas = _ground(scene, unit, random)
    light = random.uniform(-1, 1, 2).astype(np.float32)
    for _ in range(int(random.uniform(0, 1 + 4 * difficulty))):
        _clutter(canvas, difficulty, light, unit, random)
    for thing in scene.things:
        _shadow(canvas, thing.shape, light)
        behind = canvas[_inside(thing.shape.center[1], height), _inside(thing.shape.center[0], width)]
        plain = np.array(_BODIES[int(random.integers(len(_BODIES)))], np.float32) + random.normal(0, 10, 3)
        colour = plain + 0.35 * difficulty * (behind - plain)
        _body(canvas, thing.shape, colour, light, unit, random)
        _emblem(canvas, thing.shape, thing.label, thing.angle, difficulty, random)
    return _finish(canvas, difficulty, random)


def _ground(scene: Scene, unit: float, random: np.random.Generator) -> Field:
    near, far = random.choice(len(_NEUTRAL), 2, replace=False)
    kinds = {0: _NEUTRAL[far], 1: _NEUTRAL[near]} | {2 + label: _CONTEXT[name] for label, name in CONTEXTS.items()}
    canvas = np.zeros((scene.height, scene.width, 3), np.float32)
    for kind in np.unique(scene.ground).tolist():
        where = (scene.ground == kind).view(np.uint8)
        left, top, width, height = cv2.boundingRect(where)
        area = slice(top, top + height), slice(left, left + width)
        canvas[area] = cv2.copyTo(kinds[kind](random, height, width, unit), where[area], canvas[area])
    return canvas


def _clutter(canvas: Field, difficulty: float, light: Field, unit: float, random: np.random.Generator) -> None:
    """A stone (a body without emblem), or a plain bright disc (an emblem without body)."""
    height, width = canvas.shape[:2]
    x, y = int(random.integers(width)), int(random.integers(height))
    if random.random() < 0.6:
        stone = np.array(_STONES[int(random.integers(len(_STONES)))], np.float32)
        body = np.array(_BODIES[int(random.integers(len(_BODIES)))], np.float32)
        shape = moved(make_shape(random, random.uniform(0.12, 0.3) * min(height, width), limbs=False), x, y)
        _shadow(canvas, shape, light)
        _body(canvas, shape, stone + 0.7 * difficulty * (body - stone), light, unit, random)
    else:
        colour = random.uniform(40, 230, 3).tolist()
        cv2.circle(canvas, (x, y), max(1, round(random.uniform(1.5, 5) * unit)), colour, -1)


def _shadow(canvas: Field, shape: Shape, light: Field) -> None:
    left, top, right, bottom = shape.box
    reach = max(1.0, 0.07 * max(right - left, bottom - top))
    shift = np.array([-light[0] * reach, reach], np.int32)
    view, mask, corner = _window(canvas, (left - int(reach) - 1, top, right + int(reach) + 2, bottom + int(reach) + 2))
    for polygon in shape.polygons:
        cv2.fillPoly(mask, [polygon + shift - corner], 1)
    view[mask > 0] *= np.float32(0.62)


def _body(
    canvas: Field, shape: Shape, colour: NDArray[np.floating], light: Field, unit: float, random: np.random.Generator
) -> None:
    """Fill the polygons with a shaded colour and one of three faint textures that all classes share."""
    view, mask, corner = _window(canvas, shape.box)
    if not mask.size:
        return
    for polygon in shape.polygons:
        cv2.fillPoly(mask, [polygon - corner], 1)
    tall, wide = mask.shape
    y = np.linspace(-1, 1, tall, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, wide, dtype=np.float32)[None, :]
    tone = 1.05 + 0.22 * (light[0] * x + (light[1] - 0.6) * y) - 0.18 * (x * x + y * y)
    kind = random.integers(3)
    if kind == 0:
        tone += 0.10 * _noise(random, tall, wide, 2 * unit, 2 * unit)
    elif kind == 1:
        tone += 0.07 * np.sin(x * wide / (1.6 * unit) + 3 * y)
    else:
        tone += 0.05 * _noise(random, tall, wide, unit, 4 * unit)
    colours = tone[:, :, None] * np.asarray(colour, np.float32)
    view[mask > 0] = colours[mask > 0]


def _emblem(
    canvas: Field, shape: Shape, label: int, angle: float, difficulty: float, random: np.random.Generator
) -> None:
    """The one part that shows the class: a saturated disc with its pattern."""
    x, y, radius = round(shape.center[0]), round(shape.center[1]), max(1, round(shape.radius))
    view, mask, corner = _window(canvas, (x - radius, y - radius, x + radius + 1, y + radius + 1))
    cv2.circle(mask, (x - int(corner[0]), y - int(corner[1])), radius, 1, -1)
    rows = (np.arange(mask.shape[0], dtype=np.float32) + corner[1] - y)[:, None] / radius
    columns = (np.arange(mask.shape[1], dtype=np.float32) + corner[0] - x)[None, :] / radius
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    p, q = columns * cosine + rows * sine, rows * cosine - columns * sine
    pattern, dark, bright = _EMBLEMS[label]
    colours = np.array([dark, bright], np.float32) + random.normal(0, 6 + 12 * difficulty, 3)
    painted = colours[pattern(p, q).astype(np.intp)].astype(np.float32)
    painted *= (1.1 - 0.3 * (p * p + q * q))[:, :, None]
    view[mask > 0] = painted[mask > 0]


def _finish(canvas: Field, difficulty: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """Uneven light, a colour cast, the blur of a lens and the noise of a sensor."""
    height, width = canvas.shape[:2]
    tilt = random.uniform(-0.15, 0.15, 2)
    x, y = np.linspace(-tilt[0], tilt[0], width)[None, :], np.linspace(-tilt[1], tilt[1], height)[:, None]
    gain = (random.uniform(0.85, 1.1) + x + y).astype(np.float32)
    cast = random.uniform(0.94, 1.06, 3)
    sigma = 2 + 10 * difficulty
    grain = _cut(random, height, width, _tables()[1]) * np.float32(sigma)
    blurred = cv2.GaussianBlur(canvas, (3, 3), 0.55)
    image = np.empty((height, width, 3), np.uint8)
    for band in range(3):
        image[:, :, band] = np.clip(blurred[:, :, band] * (gain * np.float32(cast[band])) + grain, 0, 255)
    return image


# Backgrounds -----------------------------------------------------------------------------------------------


def _water(random: np.random.Generator, height: int, width: int, unit: float) -> Field:
    rows = np.linspace(0.3, 1.0, height, dtype=np.float32)[:, None]
    swell = _noise(random, height, width, 3 * unit, 9 * unit)
    ripple = np.sin(38 * np.sqrt(rows) * random.uniform(0.9, 1.3) + 2.2 * swell + random.uniform(0, 6))
    glint = _noise(random, height, width, 0.8 * unit, 2.5 * unit)
    return _palette(0.45 + 0.22 * ripple + 0.16 * glint, ((20, 55, 85), (45, 105, 135), (120, 175, 190)), random)


def _rails(random: np.random.Generator, height: int, width: int, unit: float) -> Field:
    tone = 0.5 + 0.16 * _noise(random, height, width, unit, unit)
    angle = random.uniform(-0.6, 0.6)
    y, x = np.arange(height, dtype=np.float32)[:, None] / unit, np.arange(width, dtype=np.float32)[None, :] / unit
    across = (y * np.cos(angle) + x * np.sin(angle) + random.uniform(0, 34)) % 34 - 17
    along = (x * np.cos(angle) - y * np.sin(angle)) % 8
    tone -= 0.38 * ((along < 3.4) & (np.abs(across) < 12))  # sleepers
    rail = np.abs(np.abs(across) - 7.5)
    tone -= rail < 1.5
    tone += 2 * (rail < 0.8)
    return _palette(tone, ((48, 38, 32), (82, 74, 68), (150, 140, 128), (208, 210, 215)), random)


def _meadow(random: np.random.Generator, height: int, width: int, unit: float) -> Field:
    blades = _noise(random, height, width, 5 * unit, 0.9 * unit)
    patches = _noise(random, height, width, 9 * unit, 9 * unit)
    field = _palette(0.5 + 0.25 * blades + 0.2 * patches, ((30, 60, 20), (80, 125, 40), (160, 185, 85)), random)
    for _ in range(int(random.integers(0, 14))):
        spot = (int(random.integers(width)), int(random.integers(height)))
        cv2.circle(field, spot, max(1, round(0.9 * unit)), (235, 230, 190), -1)
    return field


def _sky(random: np.random.Generator, height: int, width: int, unit: float) -> Field:
    clouds = _noise(random, height, width, 7 * unit, 12 * unit)
    rows = np.linspace(0, 0.5, height, dtype=np.float32)[:, None]
    low = ((240, 215, 190), (200, 215, 230), (225, 225, 225))[int(random.integers(3))]
    return _palette(rows + 0.15 + 0.35 * np.maximum(clouds, 0), ((85, 130, 190), (150, 185, 220), low), random)


def _plaster(random: np.random.Generator, height: int, width: int, unit: float) -> Field:
    tone = 0.5 * random.uniform(110, 215, 3) + 0.5 * random.uniform(110, 215)
    stains = _noise(random, height, width, 8 * unit, 8 * unit)
    return _palette(
        0.5 + 0.3 * stains + 0.1 * _noise(random, height, width, unit, unit), (tone * 0.85, tone * 1.1), random
    )


def _bricks(random: np.random.Generator, height: int, width: int, unit: float) -> Field:
    y, x = np.arange(height, dtype=np.float32)[:, None] / unit, np.arange(width, dtype=np.float32)[None, :] / unit
    tall, wide = random.uniform(6, 10), random.uniform(13, 20)
    row = np.floor(y / tall)
    column = x / wide + 0.5 * (row % 2)
    each = np.sin(row * 12.9898 + np.floor(column) * 78.233)  # one shade per brick
    tone = 0.33 + 0.13 * each + 0.1 * _noise(random, height, width, unit, unit)
    tone += ((y % tall) < 1) | ((column % 1) * wide < 1)  # mortar
    return _palette(tone, ((115, 55, 40), (145, 80, 60), (175, 105, 80), (180, 172, 160)), random)


def _sand(random: np.random.Generator, height: int, width: int, unit: float) -> Field:
    dunes, grains = _noise(random, height, width, 5 * unit, 12 * unit), _noise(random, height, width, 0.7 * unit, unit)
    return _palette(0.5 + 0.25 * dunes + 0.12 * grains, ((165, 135, 95), (205, 180, 135), (232, 215, 180)), random)


def _planks(random: np.random.Generator, height: int, width: int, unit: float) -> Field:
    x = np.arange(width, dtype=np.float32)[None, :] / unit + random.uniform(0, 20)
    wide = random.uniform(9, 16)
    each = np.sin(np.floor(x / wide) * 78.233)
    grain = _noise(random, height, width, 10 * unit, unit)
    boards = _palette(0.5 + 0.2 * each + 0.25 * grain, ((85, 62, 45), (140, 110, 80), (180, 150, 115)), random)
    boards[np.broadcast_to((x % wide) < 0.8, (height, width))] *= np.float32(0.5)
    return boards


def _paving(random: np.random.Generator, height: int, width: int, unit: float) -> Field:
    y, x = np.arange(height, dtype=np.float32)[:, None] / unit, np.arange(width, dtype=np.float32)[None, :] / unit
    side = random.uniform(12, 22)
    each = np.sin(np.floor(y / side) * 12.9898 + np.floor(x / side) * 78.233)
    stone = _noise(random, height, width, unit, unit)
    slabs = _palette(0.5 + 0.2 * each + 0.15 * stone, ((105, 105, 110), (165, 162, 158)), random)
    slabs[((y % side) < 0.9) | ((x % side) < 0.9)] *= np.float32(0.6)
    return slabs


def _hedge(random: np.random.Generator, height: int, width: int, unit: float) -> Field:
    leaves, clumps = (
        _noise(random, height, width, 1.5 * unit, 1.5 * unit),
        _noise(random, height, width, 7 * unit, 7 * unit),
    )
    return _palette(0.4 + 0.3 * leaves + 0.25 * clumps, ((25, 40, 35), (55, 85, 65), (110, 130, 90)), random)


_CONTEXT: dict[str, Texture] = {"water": _water, "rails": _rails, "meadow": _meadow}
_NEUTRAL: tuple[Texture, ...] = (_sky, _plaster, _bricks, _sand, _planks, _paving, _hedge)

Pattern = Callable[[Field, Field], NDArray[np.bool_]]
_EMBLEMS: tuple[tuple[Pattern, tuple[int, int, int], tuple[int, int, int]], ...] = (
    (lambda p, q: np.sin(7.5 * p) > 0, (205, 25, 35), (245, 240, 235)),  # boat: red and white stripes
    (lambda p, q: np.sin(5.5 * p) * np.sin(5.5 * q) > 0, (25, 25, 30), (250, 205, 20)),  # train: yellow checks
    (lambda p, q: np.sin(10 * np.hypot(p, q)) > 0, (105, 30, 170), (235, 190, 250)),  # sheep: violet rings
    (lambda p, q: np.sin(5 * np.arctan2(q, p)) > 0, (15, 60, 200), (250, 135, 15)),  # bird: orange and blue rays
    (lambda p, q: (np.abs(p) < 0.28) | (np.abs(q) < 0.28), (10, 150, 60), (240, 250, 240)),  # car: cross on green
    (lambda p, q: np.sin(7 * (p + 0.3 * np.sin(6 * q))) > 0, (20, 190, 205), (225, 30, 150)),  # bottle: magenta waves
)
"""By class: where the pattern is bright, and its dark and bright colour."""


# Noise, colours, windows -----------------------------------------------------------------------------------


@cache
def _tables() -> tuple[Field, Field]:
    """Cloudy and white noise, float32 [512, 512] with mean 0 and standard deviation 0.5 and 1; always the same."""
    random = np.random.default_rng(20120901)
    cloudy = np.zeros((_TABLE, _TABLE), np.float32)
    for octave in range(1, 5):
        cells = _TABLE >> (5 - octave)
        grid = random.standard_normal((cells, cells)).astype(np.float32)
        cloudy += cv2.resize(grid, (_TABLE, _TABLE), interpolation=cv2.INTER_CUBIC) / octave
    return 0.5 * cloudy / cloudy.std(), random.standard_normal((_TABLE, _TABLE)).astype(np.float32)


def _cut(random: np.random.Generator, height: int, width: int, table: Field) -> Field:
    """A random window of a table, repeated where it is too small."""
    top, left = random.integers(0, _TABLE, 2)
    if top + height <= _TABLE and left + width <= _TABLE:
        return table[top : top + height, left : left + width]
    rows, columns = np.arange(top, top + height) % _TABLE, np.arange(left, left + width) % _TABLE
    wrapped: Field = table[rows[:, None], columns[None, :]]
    return wrapped


def _noise(random: np.random.Generator, height: int, width: int, tall: float, wide: float) -> Field:
    """Cloudy noise [H, W] around 0 whose finest features are about `tall` x `wide` pixels."""
    window = _cut(random, max(2, round(2 * height / tall)), max(2, round(2 * width / wide)), _tables()[0])
    return np.asarray(cv2.resize(window, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _palette(values: NDArray[Any], colours: Sequence[Any], random: np.random.Generator) -> Field:
    """Values 0..1 -> colours between the given ones, all shifted a little at random."""
    stops = np.array(colours, np.float32) * random.uniform(0.85, 1.15) + random.normal(0, 8, 3)
    table = np.clip(_blend(len(stops)) @ stops, 0, 255).astype(np.float32)
    index = (np.clip(values, 0, 1) * 255).astype(np.uint8)
    return np.asarray(cv2.LUT(cv2.merge((index, index, index)), table[None]), np.float32)


@cache
def _blend(stops: int) -> NDArray[np.float64]:
    """[256, stops]: share of each stop in each of 256 even steps."""
    at = np.linspace(0, stops - 1, 256)[:, None] - np.arange(stops)
    shares: NDArray[np.float64] = np.maximum(0, 1 - np.abs(at))
    return shares


def _window(canvas: Field, box: tuple[int, int, int, int]) -> tuple[Field, NDArray[np.uint8], NDArray[np.int32]]:
    """The part of the canvas inside a box, an empty mask of its size, and its corner (x, y)."""
    height, width = canvas.shape[:2]
    left, top, right, bottom = max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)
    view = canvas[top : max(bottom, top), left : max(right, left)]
    return view, np.zeros(view.shape[:2], np.uint8), np.array([left, top], np.int32)


def _inside(value: float, size: int) -> int:
    return min(max(round(value), 0), size - 1)
