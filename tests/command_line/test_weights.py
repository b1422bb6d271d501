"""`train --weights`: a phase taken from a file instead of trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from in_process import command, document

import wsss_methods
from the_command import TINY
from wsss_platform.config import flatten, override, read_toml
from wsss_platform.nets import released
from wsss_platform.nets.released.names import translate


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Weights of a small training, and the mean IoU of its masks."""
    storage = tmp_path_factory.mktemp("trained")
    scored = document("train", "cam", "--until", "score", *TINY, "--local", "--storage", str(storage))
    (weights,) = storage.glob("stages/train/*/weights.pt")
    return weights, scored["score"]["mean_iou"]


def test_a_file_takes_the_place_of_a_training(trained: tuple[Path, float], tmp_path: Path) -> None:
    file = tmp_path / "mine.pt"
    shutil.copyfile(trained[0], file)
    storage = ["--local", "--storage", str(tmp_path / "store")]
    taken = document("train", "cam", "--name", "t", "--until", "score", "--weights", f"cam={file}", *TINY, *storage)
    assert taken["score"]["mean_iou"] == trained[1]
    assert taken["protocol"]["initial_weights"].startswith("released:")
    assert taken["protocol"]["selection"] == "none"
    again = document("score", "t", "--set", "masks.background=0.5", *storage)
    assert again["seconds"]["maps:cam"] == 0
    moved = tmp_path / "elsewhere.pt"
    shutil.copyfile(file, moved)
    more = ["--set", "train.learning_rate=1e-3"]  # neither the place nor how it would be trained counts
    other = document("train", "cam", "--until", "score", "--weights", f"cam={moved}", *TINY, *more, *storage)
    assert other["seconds"]["train:cam"] == 0


def test_the_truth_that_chose_a_release_is_stamped(trained: tuple[Path, float], tmp_path: Path) -> None:
    file = tmp_path / "chosen.pt"
    torch.save({**torch.load(trained[0], weights_only=True), "selection": "train ground truth"}, file)
    asked = ["--weights", f"cam={file}", *TINY, "--local", "--storage", str(tmp_path / "store")]
    assert document("train", "cam", *asked)["protocol"]["selection"] == "train ground truth"


def test_what_does_not_fit_is_named(trained: tuple[Path, float], tmp_path: Path) -> None:
    storage = ["--local", "--storage", str(tmp_path)]
    for given, said in (
        ("cma=x.pt", "did you mean 'cam'"),
        ("cam", "expected PHASE=FILE"),
        (f"cam={tmp_path / 'none.pt'}", "no such file"),
    ):
        refused = command("train", "cam", "--weights", given, *TINY, *storage, code=2)
        assert said in " ".join(refused.stderr.split())
    state = torch.load(trained[0], weights_only=True)
    del state["model"]["classifier.weight"]
    torch.save(state, tmp_path / "part.pt")
    refused = command("train", "cam", "--weights", f"cam={tmp_path / 'part.pt'}", *TINY, *storage, code=2)
    assert "missing classifier.weight" in refused.stderr


RTC_HEADS = """proj1.weight classifier1.weight f8_3.weight f8_4.weight f8_5.weight f9_1.weight f9_2.weight
fc8_seg_conv1.weight fc8_seg_conv1.bias fc8_seg_conv2.weight fc8_seg_conv2.bias fc8_seg_conv3.weight
fc8_seg_conv4.weight fc8_seg_conv5.weight proj2.weight classifier2.weight"""
"""Under the released names."""


@pytest.mark.slow
def test_a_released_rtc_is_scored_as_the_documents_say(tmp_path: Path) -> None:
    """On its own backbone, whose ImageNet weights nobody needs for that."""
    rtc, rules = wsss_methods.get("rtc"), released.get("rtc").rules
    config = override(rtc.config(), flatten(read_toml(rtc.presets()["paper"])) | {"backbone.weights": "none"})
    torch.manual_seed(0)
    network = rtc.phases(config)[0].build(config, 6).state_dict()
    state = {name: network[translate(name, rules)[1]] for name in RTC_HEADS.split()}
    state |= {name.removeprefix("backbone."): v for name, v in network.items() if name.startswith("backbone.")}
    torch.save(state, tmp_path / "released.pth")
    out = tmp_path / "rtc.pt"
    command("import-weights", str(tmp_path / "released.pth"), "--as", "rtc", "--classes", "6", "--out", str(out))
    scored = document(
        *("train", "rtc", "--preset", "paper", "--weights", f"rtc={out}", "--until", "score", "--local"),
        *("--score-split", "val", "--set", "data.sample.val=2", "--set", "maps.scales=[0.5]"),
        *("--storage", str(tmp_path / "store")),
    )
    assert scored["protocol"]["initial_weights"].startswith("released:")
    assert scored["protocol"]["backbone"].startswith("wide_resnet38")
    assert scored["score"]["images"] == 2
