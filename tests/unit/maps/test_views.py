"""Form "views": nothing is lost in float32, little in fewer bits, and full size is made at full size."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wsss_platform.config import MapsConfig, fingerprint, validated
from wsss_platform.data.split import Sample
from wsss_platform.data.views import normalise
from wsss_platform.errors import InputError, RunError
from wsss_platform.maps.extract import Extractor
from wsss_platform.maps.storage import MapReader, StoredMap, full_size, grid_size, maps_file, read_maps, write_maps
from wsss_platform.maps.views import FLOOR, Recipe, StoredViews, stored_views
from wsss_platform.method.module import TrainingModule

C, STRIDE = 3, 16


class Colours(TrainingModule):
    """Class scores are the colours of a cell, some of them negative."""

    background_channel: ClassVar[bool] = False

    def class_maps(self, images: Tensor, labels: Tensor) -> Tensor:
        return functional.avg_pool2d(images, STRIDE)


def sample(height: int = 70, width: int = 90, present: tuple[int, ...] = (0, 2), seed: int = 0) -> Sample:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
    image = np.ascontiguousarray(coarse.repeat(8, 0).repeat(8, 1)[:height, :width])
    return Sample(f"2007_{seed}", image, np.isin(np.arange(C), present))


def extract(item: Sample, **config: Any) -> StoredViews:
    found = Extractor(Colours(), MapsConfig(**{"store": "views", "precision": "float32", **config}), STRIDE)(item)
    assert isinstance(found, StoredViews)
    return found


def reference(item: Sample, config: MapsConfig) -> np.ndarray:
    """As IRN makes full-size maps: each view alone to the padded image, cut, fused, normalised; with torch."""
    height, width = item.image.shape[:2]
    high, wide = -(-height // 16) * 16, -(-width // 16) * 16
    whole = torch.from_numpy(normalise(item.image))[None]
    if not config.sizes:
        whole = functional.pad(whole, (0, wide - width, 0, high - height))
    sizes: list[Any] = [(size, size) for size in config.sizes]
    sizes = sizes or [[max(1, round(s * side / STRIDE)) * STRIDE for side in (high, wide)] for s in config.scales]
    target = (height, width) if config.sizes else (high, wide)
    views = []
    for size in sizes:
        resized = functional.interpolate(whole, size, mode="bilinear", align_corners=False, antialias=True)
        for flip in (False, True) if config.flip else (False,):
            scores = functional.avg_pool2d(resized.flip(3) if flip else resized, STRIDE)
            scores = scores.flip(3) if flip else scores
            scores = scores.relu() if (config.activation, config.activate) == ("relu", "view") else scores
            full = functional.interpolate(scores, target, mode="bilinear", align_corners=False)
            full = full[0, item.labels, :height, :width]
            views.append(stretched(full, config.normalise) if config.normalise_views else full)
    stack = torch.stack(views)
    fused = {"sum": stack.sum(0), "mean": stack.mean(0), "max": stack.amax(0)}[config.fuse]
    fused = fused.relu() if (config.activation, config.activate) == ("relu", "fused") else fused
    fused = fused if config.normalise_views else stretched(fused, config.normalise)
    return fused.clamp(0, 1).numpy()


def stretched(scores: Tensor, how: str) -> Tensor:
    if how == "none":
        return scores
    low = scores.amin((1, 2), keepdim=True) if how == "minmax" else 0
    return (scores - low) / (scores.amax((1, 2), keepdim=True) - low).clamp_min(FLOOR)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"flip": False, "scales": (1.0,)},
        {"fuse": "mean", "normalise": "none"},
        {"fuse": "max", "normalise": "minmax", "activation": "none"},
        {"fuse": "max", "normalise_views": True},
        {"fuse": "mean", "normalise_views": True, "normalise": "minmax"},
        {"activate": "fused"},
        {"sizes": (32, 64), "fuse": "max", "normalise_views": True},
        {"sizes": (48,)},
    ],
)
def test_full_size_is_the_peers(config: dict[str, Any]) -> None:
    item = sample()
    found = extract(item, **config)
    wanted = reference(item, MapsConfig(**config))
    assert wanted.max() > 0.1
    np.testing.assert_allclose(full_size(found), wanted, atol=2e-6)


@pytest.mark.parametrize(
    ("precision", "error"), [("float32", 0.0), ("float16", 1e-3), ("uint11", 1 / 2040), ("uint8", 1 / 255)]
)
def test_what_a_precision_loses(tmp_path: Path, precision: str, error: float) -> None:
    items = [sample(seed=seed, present=present) for seed, present in enumerate([(0, 1), (), (2,), (0, 1, 2)])]
    exact = [full_size(extract(item)) for item in items]
    kept = [extract(item, precision=precision) for item in items]
    write_maps(maps_file(tmp_path, 0), kept)
    for item, wanted, again in zip(kept, exact, read_maps(maps_file(tmp_path, 0)), strict=True):
        assert isinstance(again, StoredViews)
        assert (again.id, again.precision, again.recipe) == (item.id, item.precision, item.recipe)
        np.testing.assert_array_equal(full_size(again), full_size(item))
        assert np.abs(full_size(again) - wanted).max(initial=0) <= error


def test_files(tmp_path: Path) -> None:
    maps = [extract(sample(seed=seed), precision="uint8") for seed in range(10)]
    first, second = maps_file(tmp_path, 0), maps_file(tmp_path, 1)
    write_maps(first, maps)
    write_maps(second, maps)
    assert first.read_bytes() == second.read_bytes()
    second.unlink()
    reader = MapReader(tmp_path)
    assert reader.ids == [item.id for item in maps]
    np.testing.assert_array_equal(full_size(reader[maps[9].id]), full_size(maps[9]))
    grid = StoredMap("other", np.zeros(0, np.uint8), np.zeros((0, *grid_size(9, 9)), np.uint8), 9, 9)
    with pytest.raises(ValueError, match="one form"):
        write_maps(second, [maps[0], grid])
    table = pq.read_table(first)
    column = table.schema.get_field_index("scores")
    short = table.set_column(column, table.schema.field(column), [[b"\0" * 7] * table.num_rows])
    pq.write_table(short.replace_schema_metadata(table.schema.metadata), first)
    with pytest.raises(InputError, match="maps-000000.parquet: not readable"):
        list(read_maps(first))


def test_a_map_that_is_zero_everywhere_stays_so() -> None:
    zeros = [np.zeros((1, 3, 4), np.float32)]
    for precision in ("uint8", "uint11", "float16", "float32"):
        found = stored_views("one", np.array([1], np.uint8), zeros, precision, (40, 60), Recipe("sum", "max"))  # type: ignore[arg-type]
        assert not full_size(found).any()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"height": 0}, "map of p0: image size 0x60"),
        ({"classes": np.array([2, 1], np.uint8)}, "map of p0: classes .* not ascending"),
        ({"classes": np.array([1], np.uint8)}, "map of p0: views of shapes"),
        ({"views": ()}, "map of p0: views of shapes"),
        ({"scale": np.ones(3, np.float32)}, "map of p0: views of shapes .* 3 scales"),
        ({"views": (np.zeros((2, 3, 4)),)}, "map of p0: views of types .'float64'"),
        ({"id": "../p0"}, "not a plain name"),
    ],
)
def test_parts_that_do_not_fit(changes: dict[str, Any], what: str) -> None:
    good = {
        "id": "p0",
        "classes": np.array([1, 2], np.uint8),
        "views": (np.zeros((2, 3, 4), np.uint8),),
        "offset": np.zeros(2, np.float32),
        "scale": np.ones(2, np.float32),
        "height": 40,
        "width": 60,
        "recipe": Recipe("sum", "max"),
    }
    StoredViews(**good)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=what):
        StoredViews(**{**good, **changes})


def test_an_output_that_is_not_finite() -> None:
    class Broken(Colours):
        def class_maps(self, images: Tensor, labels: Tensor) -> Tensor:
            return super().class_maps(images, labels) / 0

    with pytest.raises(RunError, match="2007_0: the network gives maps that are not finite"):
        Extractor(Broken(), MapsConfig(store="views"), STRIDE)(sample())


def test_the_config() -> None:
    assert fingerprint(MapsConfig(store="grid")) == fingerprint(MapsConfig())
    assert fingerprint(MapsConfig(store="views")) != fingerprint(MapsConfig())
    for wrong, what in (
        ({"precision": "float32"}, "needs store 'views'"),
        ({"store": "views", "activation": "softmax", "activate": "fused"}, "needs all"),
    ):
        with pytest.raises(InputError, match=what):
            validated(MapsConfig, wrong, "config")
