import json
import random
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from tiny_method import TinyModule, Trouble
from wsss_platform.errors import InputError
from wsss_platform.plan.jobs import EpochEnd
from wsss_platform.train.checkpoint import STATE, epoch_of, load_weights, read_torch, write_torch
from wsss_platform.train.randomness import random_state, seed_everything, set_random_state
from wsss_platform.train.record import append_epoch, read_epochs, restart_record

CPU = torch.device("cpu")


def _draws() -> list[float]:
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(()).item()]


def test_random_state_survives_a_file(tmp_path: Path) -> None:
    seed_everything(7)
    _draws()  # leaves a second gaussian waiting in Python's and numpy's generators
    write_torch(tmp_path / "random.pt", random_state(CPU))
    expected = _draws()
    seed_everything(8)
    set_random_state(read_torch(tmp_path / "random.pt"), CPU)
    assert _draws() == expected


def _weights(path: Path, model: dict[str, torch.Tensor]) -> Path:
    write_torch(path, {"model": model, "phase": "tiny", "method": "tiny"})
    return path


def test_weights_load_strictly(tmp_path: Path) -> None:
    source, target = TinyModule(3, Trouble()), TinyModule(3, Trouble())
    source.bank.fill_(5)
    load_weights(target, _weights(tmp_path / "weights.pt", source.state_dict()))
    torch.testing.assert_close(target.state_dict(), source.state_dict(), rtol=0, atol=0)


def test_weights_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    model = TinyModule(4, Trouble()).state_dict()
    del model["bank"]
    model["other"] = torch.zeros(1)
    path = _weights(tmp_path / "weights.pt", model)
    with pytest.raises(InputError) as caught:
        load_weights(TinyModule(3, Trouble()), path)
    message = str(caught.value)
    assert str(path) in message
    assert "missing bank" in message
    assert "unexpected other" in message
    assert "head.weight is [4, 8, 1, 1], expected [3, 8, 1, 1]" in message


def test_files_that_are_no_weights_are_named(tmp_path: Path) -> None:
    module = TinyModule(3, Trouble())
    path = tmp_path / "weights.pt"
    with pytest.raises(InputError, match="no such file"):
        load_weights(module, path)
    path.write_bytes(b"not a zip")
    with pytest.raises(InputError, match=r"weights\.pt: not a file of plain tensors"):
        load_weights(module, path)
    torch.save({"model": Path("x")}, path)  # a class that weights_only refuses
    with pytest.raises(InputError, match="not a file of plain tensors"):
        load_weights(module, path)
    write_torch(path, {"bank": torch.zeros(1)})
    with pytest.raises(InputError, match="not the weights of a training"):
        load_weights(module, path)


def _end(epoch: int, loss: float) -> EpochEnd:
    return EpochEnd(epoch, 9, epoch * 3, {"total": loss}, 0.1, 10.0, 1.0, {"loss.contrast": 0.1}, 0.5)


def test_record_counts_an_epoch_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_epochs(path) == []
    for end in (_end(1, 1.0), _end(2, 2.0), _end(2, 2.5), _end(3, 3.0)):
        append_epoch(path, end)
    with path.open("a") as stream:
        stream.write('{"epoch": 4, "epo')  # a kill
    assert read_epochs(path) == [_end(1, 1.0), _end(2, 2.5), _end(3, 3.0)]
    restart_record(path, _end(2, 2.5))
    assert read_epochs(path) == [_end(1, 1.0), _end(2, 2.5)]
    restart_record(path, _end(3, 3.5))  # a checkpoint whose line was never written
    assert read_epochs(path) == [_end(1, 1.0), _end(2, 2.5), _end(3, 3.5)]
    restart_record(path, None)
    assert read_epochs(path) == []


def test_a_record_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    now = EpochEnd(1, 2, 5, {"total": 1.0}, 0.1, 12.5, 4.0, {}, 1.0)
    old = {name.replace("images", "pictures"): value for name, value in asdict(now).items()}
    assert "pictures_per_second" in old
    (tmp_path / "metrics.jsonl").write_text(json.dumps(old) + "\n")
    assert read_epochs(tmp_path / "metrics.jsonl") == [now]
    write_torch(tmp_path / STATE, {"end": old})
    assert epoch_of(tmp_path) == now
