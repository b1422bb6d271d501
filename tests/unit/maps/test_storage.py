"""The stored form: exact geometry, round trip, damaged files named."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from wsss_platform.errors import InputError
from wsss_platform.maps.packing import packed
from wsss_platform.maps.storage import (
    TOP,
    MapReader,
    StoredMap,
    full_size,
    grid_size,
    quantised,
    read_ids,
    read_maps,
    write_maps,
)


def stored(
    name: str, height: int, width: int, classes: list[int], precision: str = "uint11", seed: int = 0
) -> StoredMap:
    generator = np.random.default_rng(seed)
    shape = (len(classes), *grid_size(height, width))
    scores = quantised(generator.random(shape, np.float32), precision)
    return StoredMap(name, np.array(classes, np.uint8), scores, height, width)


def equal(a: StoredMap, b: StoredMap) -> bool:
    same = (a.id, a.height, a.width, a.precision) == (b.id, b.height, b.width, b.precision)
    return same and np.array_equal(a.classes, b.classes) and np.array_equal(a.scores, b.scores)


@settings(deadline=None, max_examples=30)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    seed=st.integers(0, 1000),
    precision=st.sampled_from(["uint8", "uint11"]),
)
def test_full_size_is_exact(height: int, width: int, seed: int, precision: str) -> None:
    """Whole levels: the same bits as torch's interpolation of the same geometry."""
    item = stored("one", height, width, [3, 7], precision, seed)
    levels = torch.from_numpy(item.scores.astype(np.float32))[None]
    larger = functional.interpolate(levels, scale_factor=4, mode="bilinear", align_corners=False)
    wanted = larger[0, :, 2 : 2 + height, 2 : 2 + width].numpy() / np.float32(TOP[precision])
    full = full_size(item)
    assert full.dtype == np.float32
    np.testing.assert_array_equal(full, wanted)


def test_full_size_of_float16() -> None:
    item = stored("one", 33, 50, [1], "float16")
    scores = torch.from_numpy(item.scores.astype(np.float32))[None]
    wanted = functional.interpolate(scores, scale_factor=4, mode="bilinear", align_corners=False)[
        0, :, 2:35, 2:52
    ].numpy()
    np.testing.assert_allclose(full_size(item), wanted, atol=1e-6)


def test_a_pixel_weighs_its_four_nodes_by_eighths() -> None:
    item = stored("one", 33, 50, [1], "float16")
    nodes = item.scores[0].astype(np.float64)
    full = full_size(item)[0]
    for y, x in ((0, 0), (9, 30), (32, 49), (7, 3)):
        (row, down), (column, right) = (divmod(place, 4) for place in (y, x))
        one, other = (2 * down + 1) / 8, (2 * right + 1) / 8
        lines = (1 - one) * nodes[row] + one * nodes[row + 1]
        wanted = (1 - other) * lines[column] + other * lines[column + 1]
        assert full[y, x] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("kind", "top"), [(np.uint8, 255), (np.uint16, 2040)])
def test_full_size_of_a_level_is_that_level(kind: Any, top: int) -> None:
    for level in (0, 1, 51, 254, 255, top - 1, top):
        item = StoredMap("one", np.array([0], np.uint8), np.full((1, *grid_size(31, 47)), level, kind), 31, 47)
        assert np.unique(full_size(item)).tolist() == [float(np.float32(level) / np.float32(top))]


def test_full_size_of_no_class() -> None:
    assert full_size(stored("one", 20, 31, [])).shape == (0, 20, 31)


def test_round_trip(tmp_path: Path) -> None:
    maps = [
        stored(f"2007_{number:06d}", 20 + number, 70 - number, classes, precision, number)
        for number, (classes, precision) in enumerate(
            [
                ([0], "uint11"),
                ([], "uint11"),
                ([2, 19], "float16"),
                ([4, 5, 6], "uint8"),
                ([], "float16"),
                ([250], "uint8"),
            ]
            * 4
        )
    ]
    first, second = tmp_path / "maps-000000.parquet", tmp_path / "maps-000001.parquet"
    write_maps(first, maps[:15])
    write_maps(second, maps[15:])
    again = list(read_maps(first))
    assert all(equal(a, b) for a, b in zip(again, maps[:15], strict=True))
    assert read_ids(second) == [item.id for item in maps[15:]]
    assert [path.name for path in sorted(tmp_path.iterdir())] == [first.name, second.name]

    reader = pickle.loads(pickle.dumps(MapReader(tmp_path)))
    assert reader.ids == [item.id for item in maps]
    assert len(reader) == len(maps)
    assert maps[3].id in reader
    assert all(equal(reader[item.id], item) for item in reversed(maps))
    assert all(equal(a, b) for a, b in zip(reader, maps, strict=True))
    with pytest.raises(InputError, match="no map of image '2008_1'"):
        reader["2008_1"]


def test_an_empty_chunk(tmp_path: Path) -> None:
    path = tmp_path / "maps-000000.parquet"
    write_maps(path, [])
    assert list(read_maps(path)) == []
    assert MapReader(tmp_path).ids == []


def test_same_maps_same_bytes(tmp_path: Path) -> None:
    maps = [stored(f"p{number}", 40, 50, [1, 2], seed=number) for number in range(20)]
    write_maps(tmp_path / "a", maps)
    write_maps(tmp_path / "b", maps)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_image_twice(tmp_path: Path) -> None:
    item = stored("p0", 40, 50, [1])
    with pytest.raises(InputError, match="'p0' is in the chunk twice"):
        write_maps(tmp_path / "maps-000000.parquet", [item, item])
    write_maps(tmp_path / "maps-000000.parquet", [item])
    write_maps(tmp_path / "maps-000001.parquet", [item])
    with pytest.raises(InputError, match=r"'p0' is also in maps-000000\.parquet"):
        MapReader(tmp_path)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "maps-000000.parquet"
    with pytest.raises(InputError, match=r"no maps-"):
        MapReader(tmp_path)
    with pytest.raises(InputError, match=r"maps-000000.parquet: no such file"):
        read_ids(path)
    write_maps(path, [stored(f"p{number}", 40, 50, [1], seed=number) for number in range(30)])
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(InputError, match=r"maps-000000.parquet: not readable as stored maps"):
        MapReader(tmp_path)
    broken = bytearray(content)
    broken[200:2000] = bytes(1800)
    path.write_bytes(broken)
    with pytest.raises(InputError, match=r"maps-000000.parquet"):
        list(read_maps(path))
    for place in range(100, len(content) // 2, 997):  # any one wrong byte of the data is noticed
        broken = bytearray(content)
        broken[place] ^= 0x10
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"maps-000000.parquet"):
            list(read_maps(path))
    pq.write_table(pa.table({"id": ["p0"]}), path)
    with pytest.raises(InputError, match="not a file of stored maps"):
        read_ids(path)


def test_rows_that_do_not_fit(tmp_path: Path) -> None:
    """A file whose scores are shorter than it says."""
    path = tmp_path / "maps-000000.parquet"
    write_maps(path, [stored("p0", 40, 50, [1])])
    table = pq.read_table(path)
    shorter = table.set_column(table.schema.get_field_index("scores"), "scores", pa.array([b"123"], pa.binary()))
    pq.write_table(shorter.replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(InputError, match=r"maps-000000.parquet: not readable as stored maps"):
        list(read_maps(path))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"height": 100}, "map of p0: scores have shape .* 100x50"),
        ({"height": 0}, "map of p0: image size 0x50"),
        ({"classes": np.array([4, 1], np.uint8)}, "map of p0: classes .* not ascending"),
        ({"classes": np.array([1, 1], np.uint8)}, "map of p0: classes .* not ascending"),
        ({"classes": np.array([1, 4])}, "map of p0: scores uint16 and classes int64"),
        ({"scores": np.zeros((2, 11, 14), np.float32)}, "map of p0: scores float32"),
        ({"scores": np.full((2, 11, 14), 2041, np.uint16)}, "map of p0: level 2041, expected at most 2040"),
        ({"id": "../p0"}, "not a plain name"),
    ],
)
def test_parts_that_do_not_fit(changes: dict[str, Any], what: str) -> None:
    good = {"id": "p0", "classes": np.array([1, 4], np.uint8), "scores": np.zeros((2, 11, 14), np.uint16)}
    StoredMap(**{**good, "height": 40, "width": 50})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=what):
        StoredMap(**{**good, "height": 40, "width": 50, **changes})


def test_another_version_is_refused_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "maps-000000.parquet"
    write_maps(path, [stored("p0", 40, 50, [1])])
    table = pq.read_table(path)
    said = json.loads(table.schema.metadata[b"wsss_platform"])
    assert said["version"] == 2
    older = json.dumps({**said, "version": 1})
    pq.write_table(table.replace_schema_metadata({"wsss_platform": older}), path)
    with pytest.raises(InputError, match="maps-000000.parquet: map format version 1, this release reads 2"):
        list(read_maps(path))


def test_levels_above_the_highest_are_a_damage(tmp_path: Path) -> None:
    """What the sweep's table has no place for does not get so far."""
    path = tmp_path / "maps-000000.parquet"
    write_maps(path, [stored("p0", 40, 50, [1])])
    table = pq.read_table(path)
    content = packed(np.full((1, *grid_size(40, 50)), 2041, np.uint16))
    column = table.schema.get_field_index("scores")
    wrong = table.set_column(column, "scores", pa.array([content], pa.binary()))
    pq.write_table(wrong.replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(InputError, match="map of p0: level 2041"):
        list(read_maps(path))


@pytest.mark.parametrize("precision", ["uint8", "uint11", "float16"])
def test_what_a_precision_loses(precision: str) -> None:
    scores = np.array([[[-0.2, 0.0, 0.3], [0.77777, 1.0, 1.3]]], np.float32)
    found = StoredMap("one", np.array([3], np.uint8), quantised(scores, precision), 4, 8)
    assert found.precision == precision
    error = {"uint8": 0.5 / 255, "uint11": 0.5 / 2040, "float16": 2**-12}[precision]
    assert np.abs(found.nodes - scores.clip(0, 1)).max() <= error * 1.001
    assert found.nodes.dtype == np.float32
