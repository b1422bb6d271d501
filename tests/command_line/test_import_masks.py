"""`import-masks` as a user types it, and what works on its runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_folders import write_images
from wsss_platform.cli import run_command
from wsss_platform.config import SampleConfig
from wsss_platform.data.palette import mask_file, read_mask, voc_palette, write_mask
from wsss_platform.data.sample.dataset import SampleDataset
from wsss_platform.scores.confusion import confusion, mean_iou
from wsss_platform.store.artefacts import Store

TINY = ["--set", "data.sample.train=40", "--set", "data.sample.val=2", "--set", "data.sample.size=48"]
SAMPLE = SampleDataset(SampleConfig(train=40, val=2, size=48))


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSSS_WANDB", "disabled")
    monkeypatch.setenv("WSSS_STORAGE", str(tmp_path / "store"))


def theirs(id: str, shift: int = 3) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A mask that is moved by some pixels, with some undecided."""
    mask = np.roll(SAMPLE.truth("train").mask(id), shift, axis=1)
    mask[0, :2] = 255
    return mask


def write(folder: Path, *, coloured: bool = False, shift: int = 3) -> Path:
    folder.mkdir()
    for id in SAMPLE.split("train").ids:
        mask = theirs(id, shift)
        if coloured:
            Image.fromarray(voc_palette()[mask]).save(folder / f"{id}.png")
        else:
            write_mask(folder / f"{id}.png", mask)
    return folder


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """The JSON document of a command that succeeds."""
    capsys.readouterr()
    assert run_command([*arguments, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run_command([*arguments]) == 2
    return capsys.readouterr().err.replace("\n", " ")


def test_from_a_folder_to_a_leaderboard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The score is that of the masks as they are; showing, comparing, ranking and exporting need no maps."""
    given = write(tmp_path / "theirs")
    stated = ["--supervision", "image-labels", "--supervision", "image-text-pairs:CLIP ViT-B/16@5806e77c"]
    document = told(capsys, "import-masks", str(given), "--name", "his", "--until", "score", *TINY, "--local", *stated)
    assert document["stage"] == "score:imported"
    truth = SAMPLE.truth("train")
    table = sum(confusion(truth.mask(id), theirs(id), len(truth.classes)) for id in truth.ids)
    assert document["score"]["mean_iou"] == pytest.approx(float(mean_iou(table)), abs=1e-12)
    assert document["score"]["undecided"] > 0
    assert document["score"]["sweep"] is None
    said = document["protocol"]
    assert [each["kind"] for each in said["supervision"]] == ["image-labels", "image-text-pairs"]
    assert said["supervision"][1] == {"kind": "image-text-pairs", "model": "CLIP ViT-B/16", "hash": "5806e77c"}
    assert (said["backbone"], said["crf"], said["selection"]) == ("imported masks", "unknown (imported)", "unknown")
    assert said["label_gate"]

    other = write(tmp_path / "hers", coloured=True, shift=0)
    told(capsys, "import-masks", str(other), "--name", "hers", "--until", "score", *TINY, "--local", *stated)
    board = told(capsys, "leaderboard")
    (group,) = board["groups"]
    assert [row["runs"] for row in group["rows"]] == [["hers"], ["his"]]
    assert "image-text pairs (CLIP ViT-B/16)" in printed(capsys, "leaderboard", "--markdown")
    difference = told(capsys, "score", "hers", "--against", "his")
    assert difference["best"] is None
    assert difference["masks"]["difference"]["low"] > 0
    assert told(capsys, "score", "his")["score"] == document["score"]
    name = next(name for name, values in document["score"]["classes"].items() if values["iou"] and name != "background")
    some = told(capsys, "score", "his", "--subset", "all", "--subset", f"class={name}")
    assert [row["rule"] for row in some["subsets"]] == [None, None]
    assert some["subsets"][0]["masks"]["mean_iou"] == pytest.approx(document["score"]["mean_iou"], abs=1e-12)
    assert 0 < some["subsets"][1]["images"] < some["subsets"][0]["images"]
    assert "masks as made" in printed(capsys, "score", "his", "--subset", "all")
    shown = told(capsys, "show", "his", "--count", "1")
    assert {Path(file).stem.split("-")[0] for file in shown["files"]} == {"classes", "worst", "best", "random"}
    out = told(capsys, "masks", "his", "--local", "--format", "voc", "--out", str(tmp_path / "out"))
    assert out["export"]["images"] == 40
    written = read_mask(tmp_path / "out" / "SegmentationClass" / f"{truth.ids[0]}.png")
    assert np.array_equal(written, theirs(truth.ids[0]))
    assert told(capsys, "store", "verify", "--full")["damaged"] == []


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run_command([*arguments]) == 0
    return capsys.readouterr().out


def test_the_key_is_the_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Moved files are the same masks; files in another form are others, of equal bytes in the store."""
    given = write(tmp_path / "theirs")
    first = told(capsys, "import-masks", str(given), "--name", "first", *TINY, "--local")
    given.rename(tmp_path / "moved")
    again = ["import-masks", str(tmp_path / "moved"), *TINY, "--local", "--supervision", "class-masks"]
    assert told(capsys, *again, "--name", "second", "--dry-run")["stages"][0]["cached"]
    coloured = write(tmp_path / "coloured", coloured=True)
    third = told(capsys, "import-masks", str(coloured), "--name", "third", *TINY, "--local")
    assert third["folder"] != first["folder"]
    for id in SAMPLE.split("train").ids:
        assert mask_file(Path(third["folder"]), id).read_bytes() == mask_file(Path(first["folder"]), id).read_bytes()


@pytest.mark.parametrize("whole", [True, False])
def test_palettes_in_another_order(tmp_path: Path, capsys: pytest.CaptureFixture[str], whole: bool) -> None:
    """Colours count where every file has VOC's; one other colour in one file, and the indices count."""
    given, order = tmp_path / "theirs", np.roll(np.arange(256), 2)
    given.mkdir()
    expected = {}
    for number, id in enumerate(SAMPLE.split("train").ids):
        mask = theirs(id)
        expected[id] = mask
        indices = np.argsort(order)[mask].astype(np.uint8)
        indices[indices > len(SAMPLE.classes)] = 0
        palette = voc_palette()[order]
        if not whole and number == 7:
            palette[indices[0, 5]] = (1, 2, 3)
        expected[id] = order[indices].astype(np.uint8) if whole else indices
        image = Image.fromarray(indices)
        image.putpalette(palette.tobytes())
        image.save(given / f"{id}.png")
    found = told(capsys, "import-masks", str(given), "--name", "his", *TINY, "--local", "--max-failures", "39")
    made = [id for id in expected if mask_file(Path(found["folder"]), id).is_file()]
    assert made
    assert all(np.array_equal(read_mask(mask_file(Path(found["folder"]), id)), expected[id]) for id in made)


def test_classes_that_the_labels_do_not_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are taken and counted, and the protocol says that nothing limited the masks to the labels."""
    given, id = write(tmp_path / "theirs"), SAMPLE.split("train").ids[3]
    strange = int(np.flatnonzero(SAMPLE.split("train").labels(id) == 0)[0]) + 1
    write_mask(given / f"{id}.png", np.full_like(theirs(id), strange))
    capsys.readouterr()
    assert run_command(["import-masks", str(given), "--name", "his", *TINY, "--local", "--json"]) == 0
    heard = capsys.readouterr()
    assert not json.loads(heard.out)["protocol"]["label_gate"]
    assert f"1 images: masks with a class that their labels do not name, taken as they are: {id}" in heard.err


def damage(folder: Path, what: str) -> None:
    file = folder / f"{SAMPLE.split('train').ids[5]}.png"
    if what == "missing":
        file.unlink()
    elif what == "cut":
        file.write_bytes(file.read_bytes()[:60])
    elif what == "small":
        write_mask(file, np.zeros((48, 9), np.uint8))
    elif what == "number":
        write_mask(file, np.full((48, 48), 77, np.uint8))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("missing", "no PNG masks of 1 of 40 images: train_00005"),
        ("cut", "train_00005.png: not readable as a mask"),
        ("small", "train_00005.png: a mask of 9x48, its image is "),
        ("number", "train_00005.png: a pixel of 77, expected 0.."),
    ],
)
def test_one_bad_mask_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, said: str) -> None:
    given = write(tmp_path / "theirs")
    damage(given, what)
    assert said in refused(capsys, "import-masks", str(given), "--name", "his", *TINY, "--local")
    assert not list((tmp_path / "store").glob("stages/masks/*/manifest.json"))


@pytest.mark.parametrize("what", ["missing", "cut", "small", "number"])
def test_some_may_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    given = write(tmp_path / "theirs")
    damage(given, what)
    words = ["import-masks", str(given), "--name", "his", *TINY, "--local", "--max-failures", "1", "--until", "score"]
    assert told(capsys, *words)["protocol"]["score_images"] == 39


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--supervision", "clip"], "kind of knowledge (--supervision) 'clip'"),
        (["--ids", "coco80"], "did you mean 'coco-80'"),
        (["--ids", "coco-80"], "only for the 80 classes of COCO"),
        (["--set", "masks.crf=irn"], "only data.* can be set"),
        (["--until", "maps"], "unknown stage"),
        (["--split", "trian"], "did you mean 'train'"),
    ],
)
def test_wrong_words_name_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    given = write(tmp_path / "theirs")
    assert said in refused(capsys, "import-masks", str(given), "--name", "his", *TINY, "--local", *more)


def test_what_needs_maps_says_that_there_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = write(tmp_path / "theirs")
    told(capsys, "import-masks", str(given), "--name", "his", *TINY, "--local", "--until", "score")
    rules = [["score", "his", "--rule", rule] for rule in ("constant", "per-class", "saliency")]
    for words in (["maps", "his"], ["search", "his"], *rules):
        assert "maps" in refused(capsys, *words), words
    assert "use `wsss-platform import-masks`" in refused(capsys, "score", "his", "--score-split", "val")


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """A folder of images whose classes are 80, with COCO's first and last."""
    folder = write_images(tmp_path / "data")
    own = [name for name in (folder / "classes.txt").read_text().split("\n") if name and name != "person"]
    names = ["person", *own, *(f"class {number}" for number in range(78 - len(own))), "toothbrush"]
    (folder / "classes.txt").write_text("\n".join(names) + "\n")
    return folder


@pytest.mark.parametrize(("ids", "extra"), [("coco-80", 12), ("coco-91", 90), (None, 1)])
def test_numbers_of_coco(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ids: str | None, extra: int
) -> None:
    """One number can tell which; where none does, the user is asked."""
    given = tmp_path / "theirs"
    given.mkdir()
    files = sorted((coco / "masks").glob("*.png"))
    for file in files:
        mask = np.zeros_like(read_mask(file))
        mask[:2] = extra
        Image.fromarray(mask).save(given / file.name)
    words = ["import-masks", str(given), "--name", "his", "--data", str(coco), "--local"]
    if ids is None:
        assert "say --ids coco-80 or --ids coco-91" in refused(capsys, *words)
        ids = "coco-91"
        words += ["--ids", ids]
    found = told(capsys, *words)
    made = read_mask(mask_file(Path(found["folder"]), files[0].stem))
    assert sorted(np.unique(made).tolist()) == [0, {12: 12, 90: 80, 1: 1}[extra]]
    assert Store(tmp_path / "store").run_folder("his").is_dir()
