"""COCO read where it lies: against its converted tree, and the index that is cached by the file's content."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

import wsss_platform.api as wsss
from data_folders import number_of, write_coco
from wsss_platform.config import DataConfig
from wsss_platform.data import coco_index
from wsss_platform.data.check import inspect, verdict
from wsss_platform.data.coco_folder import CocoDataset
from wsss_platform.data.voc import VocDataset
from wsss_platform.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, and a process that has opened nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    coco_index._opened.cache_clear()
    return tmp_path / "cache" / "wsss-platform" / "coco"


def opened(folder: Path, **fields: Any) -> CocoDataset:
    return CocoDataset(DataConfig(kind="coco", root=str(folder), **fields))


def annotations(folder: Path, name: str = "train") -> Path:
    return folder / "annotations" / f"instances_{name}2014.json"


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_it_is_what_its_converted_tree_is(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "coco")
    wsss.convert_coco(folder, tmp_path / "tree", progress=False)
    direct, tree = opened(folder), VocDataset(DataConfig(kind="voc12", root=str(tmp_path / "tree")))
    assert (direct.name, direct.classes, direct.lists()) == ("coco2014", tree.classes, tree.lists())
    for name in ("train", "val"):
        split, converted = direct.split(name), tree.split(name)
        truth, masks = direct.truth(name), tree.truth(name)
        assert split.ids == truth.ids == converted.ids
        assert split.fingerprint() == converted.fingerprint(), "what was made of the tree is found again"
        for id in split.ids:
            np.testing.assert_array_equal(truth.mask(id), masks.mask(id))
            np.testing.assert_array_equal(split.labels(id), converted.labels(id))
            np.testing.assert_array_equal(split.read(id).image, converted.read(id).image)
        assert any(truth.mask(id).any() for id in split.ids)


def test_the_annotations_are_parsed_once_for_all_processes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_coco(tmp_path / "coco", splits=["train"])
    first = opened(folder)
    truth = first.truth("train")
    masks = [truth.mask(id) for id in truth.ids]
    monkeypatch.setattr(coco_index, "read_annotations", None)  # whoever parses now, fails
    coco_index._opened.cache_clear()  # as in another process
    moved = Path(shutil.move(folder, tmp_path / "elsewhere"))
    again = opened(moved).truth("train")
    assert again.fingerprint() == truth.fingerprint(), "by content, not by place"
    for id, mask in zip(again.ids, masks, strict=True):
        np.testing.assert_array_equal(again.mask(id), mask)
    sent = pickle.loads(pickle.dumps(opened(moved))).truth("train")  # as to a worker
    np.testing.assert_array_equal(sent.mask(sent.ids[0]), masks[0])
    assert len(list(cache.glob("*.parquet"))) == 1


def test_other_annotations_are_another_index_and_another_identity(tmp_path: Path, cache: Path) -> None:
    folder = write_coco(tmp_path / "coco", splits=["train"])
    before = opened(folder)
    split, truth = before.split("train"), before.truth("train")
    kept = json.loads(annotations(folder).read_text())["annotations"]
    change(annotations(folder), annotations=[entry for entry in kept if entry["image_id"] != number_of("train_00002")])
    after = opened(folder)
    assert after.lists() == {"train": 5}
    assert after.split("train").fingerprint() != split.fingerprint()
    assert after.truth("train").fingerprint() != truth.fingerprint()
    assert len(list(cache.glob("*.parquet"))) == 2
    with pytest.raises(InputError, match="changed since this run opened it"):
        truth.mask(truth.ids[0])


def test_a_damaged_index_is_made_again(tmp_path: Path, cache: Path) -> None:
    folder = write_coco(tmp_path / "coco", splits=["train"])
    ids = opened(folder).split("train").ids
    (file,) = cache.glob("*.parquet")
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"PAR1 and more"):
        file.write_bytes(damaged)
        coco_index._opened.cache_clear()
        assert opened(folder).split("train").ids == ids
        assert file.read_bytes() == whole


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("values", [[9], [200]]),
        ("values", [[0], [1]]),
        ("values", [None, [1]]),
        ("values", [[None], [1]]),
        ("height", [0, 5]),
        ("file", ["a.jpg", "a.jpg"]),
        ("file", [None, "a.jpg"]),
    ],
)
def test_an_index_that_no_annotation_file_gives_is_made_again(
    column: str, values: list[Any], tmp_path: Path, cache: Path
) -> None:
    folder = write_coco(tmp_path / "coco", splits=["train"])
    ids = opened(folder).split("train").ids
    (file,) = cache.glob("*.parquet")
    whole, table = file.read_bytes(), parquet.read_table(file).slice(0, 2)
    place = table.schema.get_field_index(column)
    changed = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
    parquet.write_table(changed, file)
    coco_index._opened.cache_clear()
    assert opened(folder).split("train").ids == ids
    assert file.read_bytes() == whole


@pytest.mark.parametrize(
    "said",
    [
        None,
        "no JSON",
        "[]",
        '{"digest": "DIGEST"}',
        '{"digest": "DIGEST", "classes": null, "without": 0}',
        '{"digest": "DIGEST", "classes": [1], "without": 0}',
        '{"digest": "DIGEST", "classes": ["a"], "without": null}',
        '{"digest": "other", "classes": ["a"], "without": 0}',
    ],
)
def test_a_foreign_index_is_made_again(said: str | None, tmp_path: Path, cache: Path) -> None:
    folder = write_coco(tmp_path / "coco", splits=["train"])
    ids = opened(folder).split("train").ids
    (file,) = cache.glob("*.parquet")
    whole, table = file.read_bytes(), parquet.read_table(file)
    digest = file.name.partition("-")[0]
    metadata = None if said is None else {"wsss_platform": said.replace("DIGEST", digest)}
    foreign = pa.table({"other": [1]}).replace_schema_metadata(table.schema.metadata)
    for written in (table.replace_schema_metadata(metadata), foreign):
        parquet.write_table(written, file)
        coco_index._opened.cache_clear()
        assert opened(folder).split("train").ids == ids
        assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_said_and_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_coco(tmp_path / "coco", splits=["train"])
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(coco_index.log.parent, "propagate", True)
    truth = opened(folder).truth("train")
    assert truth.mask(truth.ids[0]).any()
    assert "cannot be written" in caplog.text
    assert "XDG_CACHE_HOME" in caplog.text


def test_images_may_lie_in_a_folder_images(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "coco", year="2017", images="images")
    assert opened(folder).lists() == {"train": 6, "val": 3}
    assert opened(folder).name == "coco2017"


def test_two_releases_have_to_be_chosen_from(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "coco", splits=["train"])
    write_coco(folder, year="2017", splits=["val"])
    with pytest.raises(InputError, match=r"2014 and 2017; choose: --set data.year=2014 or --set data.year=2017"):
        opened(folder)
    assert opened(folder, year=2017).lists() == {"val": 3}
    assert wsss.coco2014(folder).splits == {"train": 6}
    assert wsss.open_data(folder, "val", year=2017).splits == {"val": 3}
    (folder / "annotations" / "instances_val2017.json").unlink()
    with pytest.raises(InputError, match="data.year: .* has 2014, not 2017"):
        opened(folder, year=2017)


def test_a_split_without_its_images_is_left_out_and_named_when_asked_for(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "coco")
    shutil.rmtree(folder / "train2014")
    dataset = opened(folder)
    assert dataset.lists() == {"val": 3}
    with pytest.raises(InputError, match=r"instances_train2014.json is there, but neither .*train2014 nor .*images"):
        dataset.split("train")
    shutil.rmtree(folder / "val2014")
    with pytest.raises(InputError, match="which hold its images"):
        opened(folder)


def test_every_lost_or_broken_image_is_named(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "coco", splits=["train"])
    lost, broken, *_ = sorted((folder / "train2014").iterdir())
    lost.unlink()
    broken.write_bytes(broken.read_bytes()[:200])
    report = inspect(opened(folder), "train")
    said = [str(problem) for problem in report.problems]
    assert [lost.stem in said[0], str(broken) in said[1], len(said)] == [True, True, 2]
    ready, told = verdict([report])
    assert not ready
    assert told == "not ready: 2 problems, see above; the rest is 4 images with labels, 4 with ground truth"


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "coco", splits=["train"])
    with pytest.raises(InputError, match="did you mean 'train'"):
        opened(folder).split("trian")
    for field in ("labels", "masks"):
        with pytest.raises(InputError, match=f"data.{field}: .* come from its annotations"):
            opened(folder, **{field: "masks"})
    with pytest.raises(InputError, match="saliency"):
        opened(folder, saliency="none").split("train")
    change(annotations(folder), images=[{"id": 1, "file_name": "../up.jpg", "height": 3, "width": 3}])
    with pytest.raises(InputError, match=r"instances_train2014.json: .*not a plain name"):
        opened(folder)
    annotations(folder).write_text("{")
    with pytest.raises(InputError, match=r"instances_train2014.json: not a JSON"):
        opened(folder)
