"""`import-weights` as typed: what is written, what is refused, and that no file can run code."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from wsss_methods import get as method
from wsss_platform.api import _exchange
from wsss_platform.cli import run_command
from wsss_platform.config import flatten, override, read_toml
from wsss_platform.errors import InputError
from wsss_platform.method.module import TrainingModule
from wsss_platform.nets import released
from wsss_platform.nets.backbones.backbone import read_state
from wsss_platform.train.checkpoint import load_weights

CONVOLUTIONS = {
    # released name of qjadud1994/DRS, models/vgg.py -> (index in `features`, inputs, outputs)
    **{"layer1_conv1": (0, 3, 64), "layer1_conv2": (2, 64, 64), "layer2_conv1": (5, 64, 128)},
    **{"layer2_conv2": (7, 128, 128), "layer3_conv1": (10, 128, 256), "layer3_conv2": (12, 256, 256)},
    **{"layer3_conv3": (14, 256, 256), "layer4_conv1": (17, 256, 512), "layer4_conv2": (19, 512, 512)},
    **{"layer4_conv3": (21, 512, 512), "layer5_conv1": (24, 512, 512), "layer5_conv2": (26, 512, 512)},
    **{"layer5_conv3": (28, 512, 512), "extra_conv1": (None, 512, 512), "extra_conv2": (None, 512, 512)},
    **{"extra_conv3": (None, 512, 512)},
}


def _filled(value: float, *shape: int) -> Tensor:
    """A tensor of one number, which is stored as one number."""
    return torch.tensor([value]).view([1] * len(shape)).expand(shape)


def drs_checkpoint() -> dict[str, object]:
    """What scripts/train_cls.py saves; the n-th tensor is filled with n."""
    state: dict[str, Tensor] = {}
    for name, (index, inputs, outputs) in CONVOLUTIONS.items():
        for kind, shape in (("weight", (outputs, inputs, 3, 3)), ("bias", (outputs,))):
            state[f"{name}.{kind}"] = _filled(len(state), *shape)
            if index is not None:
                state[f"features.{index}.{kind}"] = state[f"{name}.{kind}"]
        state[f"{name.replace('conv', 'relu')}.fc.0.weight"] = _filled(len(state), outputs, outputs)
    state["extra_conv4.weight"] = _filled(len(state), 20, 512, 1, 1)
    state["extra_conv4.bias"] = _filled(len(state), 20)
    # The score is a number of numpy's, which plain weights_only loading refuses.
    return {"model": state, "optimizer": {"state": {}}, "epoch": 7, "iter": 100, "miou": np.float64(0.5)}


def drs_objective() -> TrainingModule:
    drs = method("drs")
    config = override(drs.config(), flatten(read_toml(drs.presets()["paper"])) | {"backbone.weights": "none"})
    return drs.phases(config)[0].build(config, 20)


def test_a_whole_network_is_what_a_training_leaves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "best.pth", tmp_path / "drs.pt"
    checkpoint = drs_checkpoint()
    torch.save(checkpoint, source)
    assert run_command(["import-weights", str(source), "--as", "drs-classify", "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["found"] == 16 * 3 + 2
    assert not any(document[what] for what in ("missing", "unexpected", "shapes", "contradicting", "initial"))
    objective = drs_objective()
    load_weights(objective, out)
    state = objective.state_dict()
    stored = checkpoint["model"]
    assert isinstance(stored, dict)
    pairs = {"backbone.features.24.bias": "layer5_conv1.bias", "tail.2.weight": "extra_conv2.weight"}
    pairs |= {"backbone.features.1.control.weight": "layer1_relu1.fc.0.weight", "classifier.bias": "extra_conv4.bias"}
    pairs |= {"tail.5.control.weight": "extra_relu3.fc.0.weight"}
    for ours, theirs in pairs.items():
        assert torch.equal(state[ours], stored[theirs]), ours


def test_what_does_not_fit_is_listed_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "best.pth", tmp_path / "drs.pt"
    state = drs_checkpoint()["model"]
    assert isinstance(state, dict)
    del state["extra_conv3.weight"]
    state["strange.weight"] = torch.zeros(1)
    state["extra_conv4.bias"] = torch.zeros(21)
    torch.save(state, source)
    command = ["import-weights", str(source), "--as", "drs-classify", "--out", str(out)]
    assert run_command(command) == 2
    printed = capsys.readouterr()
    told = [
        "1 missing:",
        "  tail.4.weight",
        "1 unexpected:",
        "  strange.weight",
        "classifier.bias (21,) instead of (20,)",
    ]
    for line in told:
        assert line in printed.out
    assert "--allow-missing writes it all the same" in printed.err
    assert not out.exists()
    assert run_command([*command, "--allow-missing"]) == 0
    load_weights(drs_objective(), out)


def test_a_tensor_stored_twice_with_different_values_is_never_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "best.pth", tmp_path / "drs.pt"
    state = drs_checkpoint()["model"]
    assert isinstance(state, dict)
    state["features.0.bias"] = torch.full((64,), 9.0)
    torch.save(state, source)
    command = ["import-weights", str(source), "--as", "drs-classify", "--out", str(out), "--allow-missing"]
    assert run_command(command) == 2
    assert "backbone.features.0.bias" in capsys.readouterr().out
    assert not out.exists()


def test_a_constant_control_has_no_weights_to_find(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "best.pth"
    state = drs_checkpoint()["model"]
    assert isinstance(state, dict)
    torch.save({name: value for name, value in state.items() if ".fc." not in name}, source)
    command = ["import-weights", str(source), "--as", "drs-classify", "--out", str(tmp_path / "drs.pt")]
    assert run_command(command) == 2
    assert "16 missing" in capsys.readouterr().err
    assert run_command([*command, "--set", "suppression.control=constant"]) == 0


def params(arrays: dict[str, np.ndarray]) -> bytes:
    """mxnet's file of float32 arrays in the form of 2016 (all forms: tests/unit/nets/released/test_mxnet_params.py)."""
    content = struct.pack("<QQQ", 0x112, 0, len(arrays))
    for array in arrays.values():
        content += struct.pack(f"<I{array.ndim}Iiii", array.ndim, *array.shape, 1, 0, 0) + array.tobytes()
    content += struct.pack("<Q", len(arrays))
    return content + b"".join(struct.pack("<Q", len(name)) + name.encode() for name in arrays)


class _Code:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["drs-classify", "resnet38-mxnet", "resnet38-backbone"])
def test_a_file_that_would_run_code_does_not(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_exchange, "_network", lambda *_: {})
    mark = tmp_path / "ran"
    for name, dump in (
        ("torch.pth", torch.save),
        ("plain.pkl", lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))),
    ):
        source = tmp_path / name
        dump({"model": {"features.0.weight": torch.zeros(1)}, "miou": _Code(mark)}, source)
        assert run_command(["import-weights", str(source), "--as", kind, "--out", str(tmp_path / "out.pt")]) == 2
        assert name in capsys.readouterr().err
    assert not mark.exists()
    torch.load(tmp_path / "torch.pth", weights_only=False)
    assert mark.exists(), "the file does run code where it is allowed to"


def test_the_mxnet_file_becomes_a_backbone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two of its tensors: the whole one has 420 MB."""
    network = {"conv1a.weight": torch.zeros(64, 3, 3, 3), "bn7.running_mean": torch.zeros(4096)}
    monkeypatch.setattr(_exchange, "_network", lambda *_: network)
    values = np.random.default_rng(0).normal(size=(64, 3, 3, 3)).astype(np.float32)
    content = params({"arg:conv1a_weight": values, "aux:bn7_moving_mean": np.ones(4096, np.float32)})
    source, out = tmp_path / "rna-a1.params", tmp_path / "wide_resnet38.pt"
    command = ["import-weights", str(source), "--as", "resnet38-mxnet", "--out", str(out)]
    source.write_bytes(content[:-5])
    assert run_command(command) == 2
    assert "is the download complete?" in capsys.readouterr().err
    assert not out.exists()
    source.write_bytes(content)
    assert run_command(command) == 0
    state = read_state(out)
    assert torch.equal(state["conv1a.weight"], torch.from_numpy(values))
    assert state["bn7.running_mean"].eq(1).all()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--as", "drs-clasify"], "did you mean 'drs-classify'"),
        (["--as", "resnet38-backbone", "--set", "train.epochs=2"], "takes no such field"),
        (["--as", "drs-classify", "--set", "data.root=x"], "takes no such field"),
        (["--as", "drs-refine", "--set", "refine.enabled=false"], "unknown phase of drs"),
        (["--as", "drs-classify", "--set", "supression.delta=1"], "suppression.delta"),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "empty.pth"
    torch.save({}, source)
    assert run_command(["import-weights", str(source), "--out", str(tmp_path / "out.pt"), *arguments]) == 2
    assert reason in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"import-weights: .*absent\.pth: no such file"):
        read_state(tmp_path / "absent.pth", "import-weights")


def test_help_names_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["import-weights", "--help"]) == 0
    shown = capsys.readouterr().out
    words = set("".join(character if character.isalnum() or character == "-" else " " for character in shown).split())
    assert {release.name for release in released.releases()} <= words
